"""`pbt-disent score` as it is typed: on arrays, on model folders and runs, on models in MLflow, and on what is none."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pbt_disent
from pbt_disent import data, metrics
from pbt_disent.cli import main
from pbt_disent.config import validate
from pbt_disent.data.selection import split
from pbt_disent.metrics import METRICS
from pbt_disent.models import LatentModel, build
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from tests.objectives import options_of

RNG = np.random.default_rng(0)
FACTORS = RNG.integers([3, 4], size=(200, 2))
CODES = np.concatenate([FACTORS, RNG.normal(size=(200, 1))], axis=1) + 0.1 * RNG.normal(size=(200, 3))
GRID = {"floor_hue": [0, 1], "wall_hue": [4, 5], "object_hue": [8], "scale": 5, "shape": 3, "orientation": 4}
WORLD = {"name": "rooms", "options": {"size": 32, "grid": GRID}, "held_out": 0.5}
NAMES = "mig,gaussian_total_correlation"


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    np.savez(tmp_path / "codes.npz", codes=CODES, factors=FACTORS, sigma=np.full(CODES.shape, 0.5))
    return tmp_path / "codes.npz"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with a model that was never trained."""
    folder = create_run(validate({"data": WORLD}), "test", tmp_path / "runs", "one")
    world = data.load("rooms", **WORLD["options"])
    chosen = options_of("betatcvae", world.shape, latents=4, beta=1, lr=1e-3, batch_size=32)
    objective = build(chosen, chosen.fixed, world.shape, len(world), generator=torch.manual_seed(0))
    LatentModel(objective).save(folder.model)
    return folder


def scores(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert main(["score", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_table_names_budget_and_samples_and_has_an_interval_in_every_row(
    arrays: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["score", str(arrays), "--metrics", f"{NAMES},gaussian_wasserstein_correlation", "--budget", "fast"]) == 0
    )
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if re.search(r"\d\.\d{4}", line)]
    assert len(rows) == 1 + 3 + 3
    assert all(re.search(r"\d\.\d{3} to \d\.\d{3} \(points\)", row) for row in rows)
    assert "fast" in out
    assert "200 points" in out
    assert f"Intervals are 95 %. Seed 0, pbt-disent {pbt_disent.__version__}." in out


def test_what_has_no_interval_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    factors = np.arange(30)[:, None] % 3
    np.savez(tmp_path / "few.npz", codes=factors + 0.1 * CODES[:30], factors=factors)
    source = str(tmp_path / "few.npz")
    assert main(["score", source, "--metrics", "mig,modularity"]) == 0
    out = capsys.readouterr().out
    assert out.count("none") == 2
    assert out.count("None where half of the points are too few to be scored") == 1
    assert main(["score", source, "--metrics", "mig", "--no-intervals"]) == 0
    assert "None where" not in capsys.readouterr().out


def test_json_holds_what_makes_scores_comparable(arrays: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scores(capsys, arrays, "--metrics", NAMES, "--seed", "4")
    assert list(found) == NAMES.split(",")
    mig, correlation = found.values()
    assert mig["values"]["score"] == metrics.mig(CODES, FACTORS).score
    (interval,) = mig["intervals"]["score"]
    assert interval["low"] <= mig["values"]["score"] <= interval["high"]
    assert (mig["budget"], mig["samples"], mig["version"]) == ("protocol", {"points": 200}, pbt_disent.__version__)
    assert set(correlation["values"]) == {"score", "sampled", "sampled_bound"}
    assert correlation["bounds"] == [0.0, None]


def test_what_is_infinite_is_null_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "twins.npz", codes=np.stack([CODES[:, 2], CODES[:, 2]], axis=1))
    found = scores(capsys, tmp_path / "twins.npz", "--metrics", "gaussian_total_correlation")
    assert found["gaussian_total_correlation"]["values"] == {"score": None}


def test_all_means_every_metric_that_the_arrays_allow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "bare.npz", codes=CODES)
    unlabelled = [name for name in METRICS if METRICS[name].kind == "unlabelled"]
    assert list(scores(capsys, tmp_path / "bare.npz")) == unlabelled
    models = np.stack([CODES, CODES[:, ::-1], CODES])
    np.savez(tmp_path / "models.npz", codes=models, information=np.ones((3, 3)))
    found = scores(capsys, tmp_path / "models.npz", "--budget", "fast")
    assert list(found) == ["udr", "udr_coverage", "udr_matched", "udr_spearman"]
    for one in found.values():
        assert [bar["over"] for bar in one["intervals"]["score"]] == ["points", "models"]


def test_pictures_of_the_matrices(arrays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    assert main(["score", str(arrays), "--metrics", "mig", "--no-intervals", "--pictures", str(folder)]) == 0
    assert str(folder / "mig-mutual_information.png") in capsys.readouterr().out
    assert (folder / "mig-mutual_information.png").read_bytes().startswith(b"\x89PNG")


def test_codes_of_a_run_are_those_of_the_images_it_held_out(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = data.load("rooms", **WORLD["options"])
    held_out = split(len(world), 0.5)[1]
    encoded = LatentModel.load(run.model).posterior(world.images(held_out))
    expected = metrics.mig(encoded.codes, world.factors(held_out)[:, [0, 1, 3, 4, 5]]).score
    gathered = []
    posterior = LatentModel.posterior
    monkeypatch.setattr(LatentModel, "posterior", lambda *a: gathered.append(len(a[1])) or posterior(*a))
    for source in (run.path, run.model, Path(run.name)):
        found = scores(capsys, source, "--runs", run.path.parent, "--metrics", NAMES, "--no-intervals")
        assert found["mig"]["values"]["score"] == pytest.approx(expected, abs=1e-6)
        assert found["mig"]["samples"] == {"points": len(held_out)}
        assert "sampled" in found["gaussian_total_correlation"]["values"]
    assert gathered == 3 * [len(held_out)]


def test_a_model_folder_alone_needs_images(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(run.model, alone)
    assert main(["score", str(alone)]) == 2
    assert "needs images to encode; name them with --data" in capsys.readouterr().err
    np.savez(tmp_path / "pictures.npz", images=np.zeros((40, 3, 32, 32), dtype=np.uint8))
    found = scores(capsys, alone, "--data", tmp_path / "pictures.npz", "--no-intervals")
    decoded = {"reconstruction_error", "sliced_wasserstein"}
    assert set(found) == {name for name in METRICS if METRICS[name].kind == "unlabelled"} | decoded
    model = LatentModel.load(alone)
    error = float((model.decode(model.encode(np.zeros((1, 3, 32, 32), dtype=np.uint8))) ** 2).mean())
    assert found["reconstruction_error"]["values"]["score"] == pytest.approx(error, rel=1e-4)
    assert found["reconstruction_error"]["higher_is_better"] is False


def test_partial_labels_are_scored_on_the_images_that_have_them(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "pictures.npz", images=images)
    for known, points, scored in ((70, 70, True), (30, 90, False)):
        rows = "".join(f"{index},{index % 3}\n" for index in range(known))
        (tmp_path / "labels.csv").write_text(f"index,kind\n{rows}")
        options = ["--data", tmp_path / "pictures.npz", "--set", f"labels={tmp_path / 'labels.csv'}"]
        found = scores(capsys, run.model, *options, "--budget", "fast", "--no-intervals")
        assert ("mig" in found) == scored
        assert found["mutual_info_score"]["samples"] == {"points": points}


def test_a_model_inside_an_mlflow_model_folder(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "flavoured"
    shutil.copytree(run.model, whole / "artifacts" / "model")
    assert main(["score", str(whole)]) == 2
    assert "holds no model.json" in capsys.readouterr().err
    (whole / "MLmodel").write_text("flavors: {}\n")
    options = ["--data", "rooms", "--set", "size=32", "--set", f"grid={json.dumps(GRID)}"]
    assert scores(capsys, whole, *options, "--metrics", "mig", "--no-intervals")["mig"]["values"]["score"] >= 0


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, ["--metrics", "migg"], "metric 'migg': is no known metric; did you mean 'mig"),
        ({}, ["--budget", "fats"], "budget 'fats': is no known budget; did you mean 'fast'"),
        ({"factors": FACTORS[:-1]}, [], "must have the same number of rows"),
        ({"codes": np.where(CODES > 2, np.nan, CODES)}, [], "NaN or infinite values: must be finite"),
        ({"factors": np.ones_like(FACTORS)}, [], "factors, column 0: has one value only"),
        ({"codes": CODES[:30].T, "factors": FACTORS[:3]}, [], "needs at least 20"),
        ({"codes": np.tile(CODES[:30], 20), "factors": FACTORS[:30]}, [], "more latents (60) than points (30)"),
        ({"codes": CODES[:10], "factors": FACTORS[:10]}, [], "codes with 10 points: needs at least 20"),
        ({"codes": np.stack([CODES, CODES])}, [], "without information: cannot be ranked"),
        ({"codes": CODES.astype(str)}, [], "must hold real numbers"),
        ({"codes": np.float64(3)}, [], "codes of shape (): must have shape (N, Z)"),
    ],
)
def test_bad_arrays(
    change: dict[str, Any], arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "bad.npz", **{"codes": CODES, "factors": FACTORS, **change})
    assert main(["score", str(tmp_path / "bad.npz"), *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_bad_sources(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(tmp_path / "other.npz", z=CODES)
    (tmp_path / "empty").mkdir()
    shutil.rmtree(run.model)
    for source, message in {
        "missing.npz": "must be an npz of plain arrays",
        "broken.npz": "must be an npz of plain arrays",
        "other.npz": "has no array called codes (it has z)",
        "empty": "holds no model.json",
        "nowhere": "is neither a folder nor a run",
        "runs/one": "has no model yet",
    }.items():
        assert main(["score", str(tmp_path / source), "--runs", str(run.path.parent)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert message in line
