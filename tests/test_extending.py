"""Plug-ins, one of each kind with an option of its own, from a distribution that is installed beside the package.

They run in processes of their own, where nothing but the entry points of the distribution names them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pbt_disent.registry import KINDS

PLUGINS = '''
from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn

from pbt_disent.config import Hyperparameter
from pbt_disent.data.grid import FactorGrid
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.worlds import WORLDS, World
from pbt_disent.models.contract import OBJECTIVES, hyperparameter
from pbt_disent.models.likelihoods import LIKELIHOODS, Likelihood
from pbt_disent.models.networks import NETWORKS, Network
from pbt_disent.models.objectives.betavae import BetaVAE
from pbt_disent.population.executor import InProcessExecutor, Stopped
from pbt_disent.population.exploit import EXPLOITS, Exploit
from pbt_disent.population.explore import EXPLORES, Explore
from pbt_disent.population.fitness import FITNESS, Fitness, MemberScore
from pbt_disent.population.executor import LAUNCHERS, Launcher
from pbt_disent.rounds.segmentation import SEGMENTATIONS, Segmentation
from pbt_disent.training.schedules import SCHEDULES, Schedule


@OBJECTIVES.register("acme-objective")
class AcmeVAE(BetaVAE):
    """A beta-VAE whose penalty is raised to a power."""

    class Options(BetaVAE.Options):
        """The options of this objective."""

        power: float = Field(1.0, ge=0.5, le=2, description="The power of the KL divergence.")
        eta: Hyperparameter = hyperparameter(1, 0.1, 10, description="Another weight of the KL divergence.")

    options: Options

    def penalty(self, passed: Any, step: int) -> Any:
        penalty, terms = super().penalty(passed, step)
        return self.values["eta"] * penalty**self.options.power, terms


@NETWORKS.register("acme-network")
class AcmeNetwork(Network):
    """One linear layer each."""

    width: int = Field(4, ge=1, description="The number of hidden units.")

    def encoder(self, image_shape: Any, outputs: int) -> nn.Module:
        size = int(np.prod(image_shape))
        return nn.Sequential(nn.Flatten(), nn.Linear(size, self.width), nn.Tanh(), nn.Linear(self.width, outputs))

    def decoder(self, image_shape: Any, inputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, int(np.prod(image_shape))), nn.Unflatten(1, image_shape))


@LIKELIHOODS.register("acme-likelihood")
class AcmeLikelihood(Likelihood):
    """A weighted squared error."""

    weight: float = Field(10.0, gt=0, description="The weight of the squared error.")

    def pixel_losses(self, logits: Any, images: Any, reduction: str) -> Any:
        losses = self.weight * (torch.sigmoid(logits) - images).square()
        return losses.sum() if reduction == "sum" else losses


@SCHEDULES.register("acme-schedule")
class AcmeSchedule(Schedule):
    """Half the learning rate after some steps."""

    after: int = Field(2, ge=0, description="The number of steps.")

    def factor(self, step: int) -> float:
        return 1.0 if step < self.after else 0.5


@FITNESS.register("acme-fitness")
class AcmeFitness(Fitness):
    """How far the codes spread."""

    title: ClassVar[str] = "spread"

    exponent: float = Field(1.0, gt=0, description="The exponent of the standard deviation.")

    def score(self, members: Any, labels: Any) -> list[MemberScore]:
        scores = []
        for member in members:
            replicas = tuple(float(codes.std() ** self.exponent) for codes in member.codes)
            scores.append(MemberScore(member.member, float(np.mean(replicas)), replicas))
        return scores


@EXPLOITS.register("acme-exploit")
class AcmeExploit(Exploit):
    """The last of the ranking copy the first."""

    count: int = Field(1, ge=1, description="The number of members that are replaced.")

    def select(self, ranking: Any, stream: Any) -> dict[int, int]:
        return {member: ranking.ranked[0] for member in ranking.ranked[1:][-self.count :]}

    def donors(self, ranking: Any) -> list[int]:
        return ranking.ranked[:1]


@EXPLORES.register("acme-explore")
class AcmeExplore(Explore):
    """A step on the unit scale of every hyperparameter."""

    step: float = Field(0.1, gt=0, lt=1, description="The size of the step.")

    def explore(self, offspring: Any, context: Any) -> list[dict[str, float]]:
        return [
            {
                **child.values,
                **{
                    name: declared.from_unit(min(declared.to_unit(child.values[name]) + self.step, 1.0))
                    for name, declared in context.space.items()
                },
            }
            for child in offspring
        ]


@SEGMENTATIONS.register("acme-segmentation")
class AcmeSegmentation(Segmentation):
    """Two parts of a latent."""

    share: float = Field(0.5, gt=0, lt=1, description="The share of the images in the lower part.")

    def boundaries(self, values: Any, noise: float, min_images: int) -> Any:
        return np.array([int(self.share * len(values)) - 1])


class Counting(InProcessExecutor):
    def __init__(self, context: Any, limit: int) -> None:
        super().__init__(context)
        self.left = limit

    def train(self, tasks: Any, on_done: Any) -> Any:
        self.left -= len(tasks)
        if self.left < 0:
            raise Stopped("as many tasks as were allowed")
        return super().train(tasks, on_done)


@LAUNCHERS.register("acme-executor")
class AcmeLauncher(Launcher):
    """Tasks in this process, a limited number of them."""

    limit: int = Field(1000, ge=0, description="The number of tasks.")

    def launch(self, main: Any, context: Any, *arguments: Any) -> Any:
        return main(Counting(context, self.limit))


class Noise:
    name, shape, factor_names, factor_sizes = "noise", (1, 16, 16), (), ()

    def __init__(self, seed: int) -> None:
        self.fingerprint = f"{seed:064x}"
        self._images = np.random.default_rng(seed).integers(0, 256, (64, 1, 16, 16), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._images)

    def images(self, indices: Any) -> Any:
        return self._images[np.asarray(indices)]

    def factors(self, indices: Any) -> None:
        return None


@READERS.register("acme-reader")
class AcmeReader(Reader):
    """A file that holds nothing: noise is read from it."""

    formats = "files that end in .acme"

    seed: int = Field(0, ge=0, description="The seed of the noise.")

    @classmethod
    def match(cls, path: Any) -> Match:
        return Match.FORMAT if path.suffix == ".acme" else Match.NO

    def read(self, path: Any) -> Any:
        return Noise(self.seed)


@WORLDS.register("acme-world")
class AcmeWorld(World):
    """A square at 8 x 8 positions."""

    full_grid = FactorGrid.full({"x": 8, "y": 8})
    channels = 1

    side: int = Field(5, ge=1, le=8, description="The side of the square in pixels.")

    def images(self, indices: Any) -> Any:
        images = np.zeros((len(indices), 1, self.size, self.size), dtype=np.uint8)
        for image, (x, y) in zip(images, self.factor_grid.published(np.asarray(indices)).tolist(), strict=True):
            image[0, y : y + self.side, x : x + self.side] = 255
        return images
'''

RUN = """
import json, sys
from pathlib import Path

from pbt_disent import api
from pbt_disent.config import load_config
from pbt_disent.errors import PbtDisentError
from pbt_disent.population.events import Observers
from pbt_disent.store.runs import create_run

root = Path(sys.argv[1])
for overrides in json.loads(sys.argv[2]):
    result = {"identities": {}}
    try:
        folder = create_run(load_config(None, overrides), "extending", root, None)
        result["folder"] = str(folder.path)
        api.execute(api.prepare(folder), Observers())
        result["ended"] = "finished"
    except PbtDisentError as error:
        result["ended"] = f"{type(error).__name__}: {error}"
    if "folder" in result and (log := folder.path / "rounds.jsonl").exists():
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        result["identities"] = {row["path"]: row["identity"] for row in rows if row["event"] == "started"}
    print(json.dumps(result))
"""

TINY = [
    "seed=3",
    "data.name=acme-world",
    "data.options={size: 16, side: 5}",
    "objective={name: acme-objective, latents: 3, batch_size: 16, power: 1.0, network: {name: acme-network, width: 4},"
    " likelihood: {name: acme-likelihood, weight: 10}, lr_schedule: {name: acme-schedule, after: 2}}",
    "population={size: 3, replicas: 2, max_generations: 2, image_passes_per_generation: 64, give_up_below: 0}",
    "population.fitness={name: acme-fitness, exponent: 1.0, points: 50}",
    "population.exploit={name: acme-exploit, count: 1}",
    "population.explore={name: acme-explore, step: 0.1}",
    "rounds={leaf_runs: 1, max_depth: 1, information_threshold: 1.0e-9, leaf_image_passes_per_generation: 32}",
    "rounds.segmentation={name: acme-segmentation, share: 0.5}",
    "final={size: 2, generations: 1, image_passes_per_generation: 32, fitness: {points: 100}}",
    "resources.executor={name: acme-executor, limit: 1000}",
    "tracking.enabled=false",
]

CHANGES = {
    "objective": ("objective.power=1.5", "0"),
    "network": ("objective.network.width=5", "0"),
    "likelihood": ("objective.likelihood.weight=11", "0"),
    "schedule": ("objective.lr_schedule.after=3", "0"),
    "fitness": ("population.fitness.exponent=2", "0"),
    "exploit": ("population.exploit.count=2", "0"),
    "explore": ("population.explore.step=0.2", "0"),
    "segmentation": ("rounds.segmentation.share=0.4", "0/leaf1/1"),
    "world": ("data.options.side=4", "0"),
}
"""For each kind a change of the plug-in's option, and the round that depends on it first."""

Play = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Install the distribution, and return what runs configs one after another in a process that knows it."""
    site = tmp_path_factory.mktemp("site")
    (site / "acme_disent.py").write_text(PLUGINS)
    metadata = site / "acme_disent-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-disent\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pbt_disent.components]\nacme = acme_disent\n")

    def run(*configs: list[str], root: Path | None = None) -> list[dict[str, Any]]:
        root = root or tmp_path_factory.mktemp("runs")
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-c", RUN, str(root), json.dumps(configs)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=250)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run


@pytest.mark.slow
def test_a_run_of_plug_ins_alone_comes_to_its_end_and_each_of_their_options_counts(play: Play) -> None:
    assert {*CHANGES, "executor", "reader"} == set(KINDS), "one plug-in of each kind"
    base, *changed = play(TINY, *([*TINY, change] for change, _ in CHANGES.values()))
    assert base["ended"] == "finished"
    assert {"0", "0/leaf1/1", "final"} <= base["identities"].keys()
    lineage = [json.loads(line) for line in (Path(base["folder"]) / "lineage.jsonl").read_text().splitlines()]
    assert {row["objective"] for row in lineage if row["event"] == "born"} == {"acme-objective"}
    assert any(row["event"] == "replaced" for row in lineage)
    for (kind, (change, path)), result in zip(CHANGES.items(), changed, strict=True):
        assert result["ended"] == "finished", (kind, result)
        assert result["identities"][path] != base["identities"][path], (
            f"{change} must change the identity of round {path}"
        )
        if path != "0":
            assert result["identities"]["0"] == base["identities"]["0"], "and of no round before"


@pytest.mark.slow
def test_what_executes_a_run_is_no_part_of_what_it_depends_on(play: Play, tmp_path: Path) -> None:
    stopped, whole, built_in = play(
        [*TINY, "resources.executor.limit=0"], TINY, [*TINY, "resources.executor=in-process"], root=tmp_path
    )
    assert stopped["ended"].startswith("Stopped: as many tasks as were allowed")
    assert stopped["identities"]["0"] == whole["identities"]["0"]
    assert whole["identities"] == built_in["identities"]


@pytest.mark.slow
def test_a_reader_from_elsewhere_reads_its_files(play: Play, tmp_path: Path) -> None:
    (tmp_path / "noise.acme").write_text("")
    data = f"data.name={tmp_path / 'noise.acme'}"
    only_first = [*TINY, data, "data.options={}", "method=pbt-u-vae", "population.max_generations=1"]
    one, other = play(only_first, [*only_first, "data.options={seed: 1}"])
    assert one["ended"] == other["ended"] == "finished"
    assert one["identities"]["0"] != other["identities"]["0"]


@pytest.mark.slow
def test_a_mistake_in_a_plug_in_s_option_is_one_line(play: Play) -> None:
    mistakes = {
        "population.exploit.cont=2": "is unknown to acme-exploit; did you mean 'count'? known: count",
        "population.exploit=acme-explot": "did you mean 'acme-exploit'",
        "objective.power=3": "objective.power=3: must be in 0.5 to 2; the default is 1.0",
        "objective.network.wide=3": "'objective.network.wide': is unknown to acme-network",
    }
    results = play(*([*TINY, change] for change in mistakes))
    for result, message in zip(results, mistakes.values(), strict=True):
        assert result["ended"].startswith("UserError: ")
        assert message in result["ended"]
        assert "\n" not in result["ended"]
