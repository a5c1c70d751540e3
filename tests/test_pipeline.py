"""The whole pipeline on real images with real training, tiny: what it may know, and what comes back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pbt_disent import api, data
from pbt_disent.config import load_config
from pbt_disent.data.base import Indices
from pbt_disent.data.worlds.sprites import Sprites
from pbt_disent.errors import UserError
from pbt_disent.models import LatentModel
from pbt_disent.population.events import Phase
from pbt_disent.report.page import write_report
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from pbt_disent.types import IntArray
from tests.population.fakes import Crash, Watch, manifests

pytestmark = pytest.mark.slow

TINY = [
    "seed=5",
    "data.options={size: 32, grid: {shape: 2, scale: 2, orientation: 2, x: 4, y: 4}}",
    "population={size: 3, replicas: 2, max_generations: 2, image_passes_per_generation: 256, give_up_below: 0}",
    "population.exploit.cutoff=0.34",
    "rounds={leaf_runs: 1, max_depth: 1, leaf_image_passes_per_generation: 128, information_threshold: 0.001}",
    "final={size: 3, generations: 2, image_passes_per_generation: 256, fitness: {points: 200}}",
    "objective={name: betatcvae, latents: 4, batch_size: 32, lr: {low: 0.001, high: 0.004}}",
]


def fresh(root: Path) -> RunFolder:
    return create_run(load_config(None, TINY), "tiny", root, None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, api.Outcome]:
    folder = fresh(tmp_path_factory.mktemp("runs"))
    return folder, api.execute(api.prepare(folder), Watch(), api.InProcess())


def test_a_run_leaves_a_model_labels_scores_and_lineage(finished: tuple[RunFolder, api.Outcome]) -> None:
    folder, outcome = finished
    assert outcome.result.last.path == "final"
    assert len([name for name in manifests(folder.path) if "/final/" in name]) == 2
    model = LatentModel.load(folder.model)
    images = data.load("sprites", **folder.config().data.options).images(np.arange(5))
    assert model.encode(images).shape == (5, 4)
    assert np.array_equal(model.encode(images), outcome.model.encode(images))  # type: ignore[union-attr]
    assert folder.labels.exists()
    scores = json.loads(folder.scores.read_text())
    assert scores["final"]["score"] == outcome.result.last.best.score  # type: ignore[union-attr]
    assert scores["image_passes"] == 3 * 2 * 256 * 2 + 3 * 2 * outcome_leaf_images(folder) + 3 * 256 * 2


MIXED = [{"name": "betatcvae", "latents": 4}, {"name": "provlae", "latents": 4, "levels": 2}, "dipvae2"]


def test_a_mixed_population_runs_to_its_end(tmp_path: Path) -> None:
    overrides = [f"objective={json.dumps(MIXED)}", "method=pbt-u-vae", "population.size=3"]
    folder = create_run(load_config(None, [*TINY, *overrides]), "mixed", tmp_path, None)
    prepared = api.prepare(folder)
    assert list(prepared.objectives_by_label) == ["betatcvae", "provlae", "dipvae2"]
    outcome = api.execute(prepared, Watch(), api.InProcess())
    history = [json.loads(content) for content in manifests(folder.path).values()]
    assert [member["objective"] for member in history[0]["members"]] == ["betatcvae", "provlae", "dipvae2"]
    assert all(member["status"] == "ok" for generation in history for member in generation["members"])
    assert outcome.model is not None
    best = outcome.result.last.best
    assert best is not None
    assert outcome.model.name == history[best.generation]["members"][best.member]["objective"]
    assert "lambda_od by generation" in write_report(folder.path).read_text()


def test_kinds_of_one_objective_are_numbered(tmp_path: Path) -> None:
    twice = [{"name": "provlae", "latents": 6, "levels": levels} for levels in (2, 3)]
    folder = create_run(load_config(None, [*TINY, f"objective={json.dumps(twice)}"]), "twice", tmp_path, None)
    assert list(api.prepare(folder).objectives_by_label) == ["provlae-1", "provlae-2"]


def outcome_leaf_images(folder: RunFolder) -> int:
    rows = [json.loads(line) for line in (folder.path / "rounds.jsonl").read_text().splitlines()]
    leaf = [row["image_passes"] for row in rows if row["event"] == "finished" and "leaf" in row["path"]]
    return sum(leaf) // 6


def test_no_true_factor_reaches_training_scoring_segmentation_or_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: tuple[RunFolder, api.Outcome]
) -> None:
    def forbidden(self: Sprites, indices: Indices) -> IntArray | None:
        raise AssertionError("somebody asked for the true factors")

    monkeypatch.setattr(Sprites, "factors", forbidden)
    folder = fresh(tmp_path)
    api.execute(api.prepare(folder), Watch(), api.InProcess())
    assert_equal_runs(folder, finished[0])


def assert_equal_runs(first: RunFolder, second: RunFolder) -> None:
    assert manifests(first.path) == manifests(second.path)
    for name in ("lineage.jsonl", "rounds.jsonl", "labels/labels.parquet", "model/model.safetensors", "scores.json"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name


@pytest.mark.parametrize("at", [("0", 0, "scored"), ("0", 1, "committed"), ("final", 0, "committed")])
def test_a_crashed_run_resumes_to_the_same_bytes(
    tmp_path: Path, finished: tuple[RunFolder, api.Outcome], at: tuple[str, int, str]
) -> None:
    class DiesAt(Watch):
        def notify(self, event: object) -> None:
            if isinstance(event, Phase) and (event.path, event.generation, event.name) == at:
                raise Crash

    folder = fresh(tmp_path)
    with pytest.raises(Crash):
        api.execute(api.prepare(folder), DiesAt(), api.InProcess())
    assert not folder.model.exists()
    api.execute(api.prepare(folder), Watch(), api.InProcess())
    assert_equal_runs(folder, finished[0])


def test_extending_a_finished_run_equals_a_longer_one(tmp_path: Path, finished: tuple[RunFolder, api.Outcome]) -> None:
    folder = RunFolder(tmp_path / "copy" / "tiny-1")
    shutil.copytree(finished[0].path, folder.path)
    api.extend(folder, ["final.generations=3"])
    api.execute(api.prepare(folder), Watch(), api.InProcess())
    whole = create_run(load_config(None, [*TINY, "final.generations=3"]), "tiny", tmp_path, None)
    api.execute(api.prepare(whole), Watch(), api.InProcess())
    assert manifests(folder.path) == manifests(whole.path)
    assert (folder.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=6", "seed=6: may not change"),
        ("data.options.size=16", "data.options.size=16: may not change"),
        ("objective=vae", "objective.name=vae: may not change"),
        ("population.size=8", "population.size=8: may not change"),
        ("final.generations=1", "final.generations=1: may only grow beyond 2"),
    ],
)
def test_what_may_not_change_is_refused(finished: tuple[RunFolder, api.Outcome], override: str, words: str) -> None:
    before = (finished[0].path / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=words):
        api.extend(finished[0], [override])
    assert (finished[0].path / "config.yaml").read_bytes() == before


def test_resources_may_change(finished: tuple[RunFolder, api.Outcome]) -> None:
    assert api.extend(finished[0], ["resources.cpus=1"]).resources.cpus == 1
    api.extend(finished[0], ["resources.cpus=null"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.name=sprits", "sprits"),
        ("objective.bta=3", "'objective.bta': is unknown to betatcvae; did you mean 'beta'"),
        ("objective.beta=-3", "objective.beta=-3"),
        ("objective.name=betatcva", "did you mean 'betatcvae'"),
    ],
)
def test_bad_input_is_refused_before_training(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        api.prepare(create_run(load_config(None, [*TINY, override]), "tiny", tmp_path, None))
    assert words in str(caught.value)
