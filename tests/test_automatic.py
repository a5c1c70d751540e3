"""`run --data FOLDER` without a config: pictures of a user, a held-out tenth, scores on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pbt_disent import api, data
from pbt_disent.automatic import automatic_config
from pbt_disent.cli.arguments import read_config
from pbt_disent.cli.summary import print_summary
from pbt_disent.data.selection import split
from pbt_disent.errors import UserError
from pbt_disent.population.executor import InProcessExecutor, OnDone
from pbt_disent.report.page import write_report
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from pbt_disent.training.tasks import TrainOutcome, TrainTask, WorkerContext
from tests.cli.parsing import parse
from tests.population.fakes import Watch

pytestmark = pytest.mark.slow

SHORT = [
    "population.size=2",
    "population.replicas=2",
    "population.max_generations=1",
    "population.image_passes_per_generation=128",
    "population.give_up_below=0",
    "rounds.leaf_image_passes_per_generation=64",
    "rounds.leaf_max_generations=1",
    "rounds.information_threshold=0.0001",
    "final.size=2",
    "final.generations=1",
    "final.image_passes_per_generation=128",
    "objective.latents=3",
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """450 pictures in two sub-folders, of two sizes, none of which a network takes."""
    base = tmp_path_factory.mktemp("mine")
    world = data.load("sprites", grid={"shape": 3, "scale": 6, "orientation": 1, "x": 5, "y": 5})
    folder = base / "pictures"
    for index, image in enumerate(world.images(np.arange(450))):
        target = folder / ("even" if index % 2 == 0 else "odd") / f"{index:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).resize((50, 50) if index % 2 else (60, 48)).save(target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PBT_DISENT_CACHE", str(base / "cache"))
        yield folder


@pytest.mark.parametrize("name", ["2024", "pics #1", "a: b"])
def test_a_folder_may_be_called_anything(
    name: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    for picture in sorted((pictures / "even").iterdir())[:3]:
        (tmp_path / name / picture.name).symlink_to(picture)
    monkeypatch.chdir(tmp_path)
    options = parse(["plan", "--data", name])
    assert read_config(options["config"], options["data"], [])[1].data.name == name


def test_a_folder_of_pictures_is_sized_and_a_tenth_is_held_out(pictures: Path) -> None:
    config = automatic_config(str(pictures), ["seed=3", "resources.cpus=2"])
    assert config.data.options == {"size": 32}
    assert config.data.held_out == 0.1
    assert (config.population.size, config.final.size) == (4, 6)
    assert config.population.image_passes_per_generation == 8000
    assert config.final.fitness.points == 450
    assert automatic_config(str(pictures), ["population.size=9"]).population.size == 9
    assert automatic_config(str(pictures), ["data.options.size=64"]).data.options == {"size": 64}


def test_images_of_a_size_that_fits_stay_as_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (50, 64, 64, 3), dtype=np.uint8))
    config = automatic_config(str(tmp_path / "images.npy"), [])
    assert config.data.options == {}
    assert api.check(config)[0].shape == (3, 64, 64)


def test_pictures_of_no_fitting_size_are_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBT_DISENT_CACHE", str(tmp_path / "cache"))
    for number in range(30):
        Image.new("RGB", (90, 90), (8 * number, 0, 0)).save(tmp_path / f"{number}.png")
    assert automatic_config(str(tmp_path), ["resources.cpus=2"]).data.options == {"size": 32}
    (store,) = (tmp_path / "cache").glob("converted-*")
    assert json.loads((store / "images.json").read_text())["shape"] == [3, 32, 32]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"broken\.npz"):
        automatic_config(str(tmp_path / "broken.npz"), [])


class Noting(InProcessExecutor):
    """Notes every task."""

    tasks: list[TrainTask] = []  # noqa: RUF012 - shared on purpose: the launcher makes the executor

    def train(self, tasks: list[TrainTask], on_done: OnDone) -> list[TrainOutcome]:  # type: ignore[override]
        self.tasks.extend(tasks)
        return super().train(tasks, on_done)


class NotingLauncher(api.InProcess):
    """Runs a run with an executor that notes its tasks."""

    def launch(self, main: Any, context: WorkerContext, *arguments: Any, **named: Any) -> Any:
        return main(Noting(context))


@pytest.fixture(scope="module")
def finished(pictures: Path) -> tuple[RunFolder, api.RunOutcome]:
    """A short run on the pictures."""
    folder = create_run(automatic_config(str(pictures), SHORT), "auto", pictures.parent / "runs", None)
    Noting.tasks.clear()
    return folder, api.execute(api.prepare(folder), Watch(), NotingLauncher())


def test_held_out_images_are_never_trained_on(finished: tuple[RunFolder, api.RunOutcome]) -> None:
    allowed, _ = split(450, 0.1)
    blobs = BlobStore(finished[0].blobs)
    assert len(Noting.tasks) >= 2 * 2 + 2
    for task in Noting.tasks:
        assert task.subset is not None
        assert set(blobs.get_array(task.subset)) <= set(allowed)
        assert set(blobs.get_array(task.probe)) <= set(allowed)
    assert set(pd.read_parquet(finished[0].labels)["image"]) == set(allowed)


def test_held_out_images_carry_the_scores(pictures: Path, finished: tuple[RunFolder, api.RunOutcome]) -> None:
    _, held = split(450, 0.1)
    scores, model = finished[1].scores["held_out"], finished[1].model
    assert json.loads(finished[0].scores.read_text())["held_out"] == scores
    assert scores["num_images"] == len(held)
    assert 0 <= scores["udr"] <= 1
    assert 0 <= scores["leaf_mig"] <= 1
    assert model is not None
    pixels = data.load(str(pictures), size=32).images(held)
    restored = model.decode(model.encode(pixels))
    assert scores["error"] == pytest.approx(float(np.mean((restored - pixels / 255) ** 2)), rel=1e-5)
    assert set(scores["intervals"]) == {"udr", "leaf_mig", "error"}
    for key in ("udr", "error"):
        low, high = scores["intervals"][key]
        assert low <= scores[key] <= high
    assert scores["intervals"]["error"][0] < scores["error"] < scores["intervals"]["error"][1]


def test_summary_and_report_say_on_what_they_score(
    finished: tuple[RunFolder, api.RunOutcome], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, outcome = finished
    held = outcome.scores["held_out"]
    page = write_report(folder.path)
    print_summary(folder, outcome, {**outcome.scores, "true_factors": None}, page)
    output = capsys.readouterr().out
    final = outcome.scores["final"]
    low, high = final["interval"]
    assert low <= final["score"] <= high
    assert low < high
    bar = f"{final['score']:.3f} [{low:.3f} to {high:.3f}, over images]"
    assert f"Final model: leaf-MIG {bar} on the images that it was chosen by\n" in output
    assert "(no interval: 3 models a member are needed to tell how much they differ, here are 2)\n" in output
    assert f"on {held['num_images']} images that were never trained on: UDR of the first round's best member" in output
    low, high = held["intervals"]["error"]
    assert f"squared error a pixel {held['error']:.3f} [{low:.3f} to {high:.3f}]" in output
    assert f"leaf-MIG {held['leaf_mig']:.3f}" in output
    shown = " ".join(page.read_text(encoding="utf-8").split())
    assert f"<dt>Never trained on</dt><dd>{held['num_images']} images</dd>" in shown
    for name, key in (("leaf-MIG", "leaf_mig"), ("squared error a pixel", "error")):
        assert f"<dt>{name}, on those</dt><dd>{held[key]:.3g}" in shown
    assert f">{low:.3g} to {high:.3g}</small>" in shown
    print_summary(folder, outcome, {**outcome.scores, "true_factors": None, "held_out": None}, page)
    assert "too few images were held out to score it on them" in capsys.readouterr().out


def test_every_generation_names_the_images_that_it_was_trained_on(
    pictures: Path, finished: tuple[RunFolder, api.RunOutcome]
) -> None:
    folder, _ = finished
    fingerprint = data.load(str(pictures), size=32).fingerprint
    rows = [json.loads(line) for line in (folder.path / "lineage.jsonl").read_text().splitlines()]
    named = {row["round"]: row["data"] for row in rows if row["event"] == "finished"}
    assert {"0", "final"} <= set(named)
    for path, identity in named.items():
        assert (identity["name"], identity["fingerprint"]) == ("pictures", fingerprint)
        (subset,) = {task.subset for task in Noting.tasks if task.key.round == path}
        assert identity["subset"] == subset
        assert identity["num_images"] == len(BlobStore(folder.blobs).get_array(subset))
