"""The verbs that use a trained model, as they are typed: encode, traverse, label, export; and what they refuse."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pbt_disent import data
from pbt_disent.cli import main
from pbt_disent.config import validate
from pbt_disent.models import LatentModel, build, export, latent_model
from pbt_disent.report.page import write_report
from pbt_disent.store.lease import Lease
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from tests.objectives import options_of

GRID = {"shape": 3, "scale": 2, "orientation": 1, "x": 4, "y": 4}
WORLD = {"name": "sprites", "options": {"size": 32, "grid": GRID}}
SHAPE = (1, 32, 32)


def small_model(name: str = "betatcvae") -> LatentModel:
    chosen = options_of(name, SHAPE, latents=3, network={"width": 4})
    objective = build(chosen, chosen.defaults, SHAPE, 96, generator=torch.Generator().manual_seed(0))
    return LatentModel(objective, information=np.array([2.0, 1.5, np.nan]))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with a model that was never trained, in the working folder's runs."""
    monkeypatch.chdir(tmp_path)
    folder = create_run(validate({"data": WORLD}), "test", tmp_path / "runs", "one")
    small_model().save(folder.model)
    return folder


def images() -> np.ndarray:
    world = data.load("sprites", **WORLD["options"])
    return world.images(np.arange(len(world)))


def test_encode_writes_a_row_per_image_and_a_column_per_name(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "ROWS", 40)
    out = tmp_path / "deep" / "codes.parquet"
    assert main(["encode", "one", "--out", str(out), "--batch", "16", "--log-sigma"]) == 0
    assert "96 images, 3 latents" in capsys.readouterr().out
    file = pq.ParquetFile(out)
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [40, 40, 16]
    names = ["f0", "f1", "f2"]
    table = file.read().to_pandas()
    assert list(table.columns) == ["index", *names, *(f"log_sigma_{name}" for name in names)]
    assert list(table["index"]) == list(range(96))
    expected = small_model().posterior(images())
    np.testing.assert_allclose(table[names].to_numpy(), expected.codes, atol=1e-5)
    np.testing.assert_allclose(table.iloc[:, 4:].to_numpy(), expected.log_sigma, atol=1e-5)
    assert [path.name for path in out.parent.iterdir()] == ["codes.parquet"]


def test_encode_asks_for_no_more_than_a_batch_of_images_at_a_time(run: RunFolder, tmp_path: Path) -> None:
    asked: list[int] = []

    class Counting(data.Subset):
        def images(self, indices: data.base.Indices) -> np.ndarray:
            asked.append(len(indices))
            return super().images(indices)

    world = Counting(data.load("sprites", **WORLD["options"]), np.tile(np.arange(96), 10))
    export.write_codes(LatentModel.load(run.model), world, tmp_path / "codes.parquet", batch=32)
    assert sum(asked) == 960
    assert max(asked) == 32
    assert pq.read_metadata(tmp_path / "codes.parquet").num_rows == 960


def test_a_failure_leaves_the_table_that_was_there(run: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "codes.parquet"
    assert main(["encode", "one", "--out", str(out)]) == 0
    before = out.read_bytes()
    model = small_model("strkm")
    model.save(tmp_path / "model")
    arguments = ["--data", "sprites", "--set", "size=32", "--out", str(out), "--log-sigma"]
    assert main(["encode", str(tmp_path / "model"), *arguments]) == 2
    assert out.read_bytes() == before
    assert not list(tmp_path.glob(".pbt-disent*"))


def test_traverse_draws_a_strip_and_an_animation_of_what_the_model_makes(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pictures"
    given = ["--latent", "1", "--latent", "f2", "--image", "5", "--frames", "5"]
    assert main(["traverse", "one", "--out", str(out), *given]) == 0
    names = {f"traversal-{latent}.{suffix}" for latent in ("f1", "f2") for suffix in ("png", "gif")}
    assert {path.name for path in out.iterdir()} == names
    assert len(capsys.readouterr().out.splitlines()) == 4
    model = small_model()
    codes = model.encode(images())
    low, high = np.percentile(codes[:, 1], [2, 98])
    low, high = (-2.0, 2.0) if high - low < 0.5 else (low, high)
    frames = np.rint(model.traverse(codes[5], 1, np.linspace(low, high, 5)) * 255)
    with Image.open(out / "traversal-f1.png") as strip:
        pixels = np.asarray(strip)[::2, ::2]
        assert pixels.shape == (32, 5 * 33 - 1)
        for number in range(5):
            np.testing.assert_allclose(pixels[:, 33 * number : 33 * number + 32], frames[number, 0], atol=1)
    with Image.open(out / "traversal-f1.gif") as animation:
        assert (animation.size, animation.is_animated, animation.n_frames) == ((64, 64), True, 8)
        assert animation.info["loop"] == 0
        animation.seek(4)
        np.testing.assert_allclose(np.asarray(animation.convert("L"))[::2, ::2], frames[4, 0], atol=1)


def test_a_name_given_once_stands_everywhere(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.scores.write_text(json.dumps({"final": {"score": 0.5, "latents": ["f0", "f1", "f2"]}, "true_factors": None}))
    write_report(run.path)
    assert "rotation" not in run.report.read_text()
    weights = (run.model / "model.safetensors").read_bytes()
    assert main(["label", "one", "--name", "1=rotation", "--name", "f2=size"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["0", "f0"],
        ["1", "rotation"],
        ["2", "size"],
    ]
    assert LatentModel.load(run.model).latents == ["f0", "rotation", "size"]
    assert (run.model / "model.safetensors").read_bytes() == weights
    assert "rotation" in run.report.read_text()
    assert json.loads(run.scores.read_text())["final"]["latents"] == ["f0", "rotation", "size"]
    assert main(["encode", "one", "--out", str(tmp_path / "codes.parquet")]) == 0
    assert pq.read_schema(tmp_path / "codes.parquet").names == ["index", "f0", "rotation", "size"]
    assert main(["label", "one", "--name", "rotation=angle"]) == 0
    assert LatentModel.load(run.model).latents == ["f0", "angle", "size"]


def test_label_without_a_name_only_looks(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run.model / "model.json").read_bytes()
    assert main(["label", str(run.model)]) == 0
    assert "1.50 nats" in capsys.readouterr().out
    assert (run.model / "model.json").read_bytes() == before


def test_a_run_that_is_at_work_keeps_its_names(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    lease = Lease(run.path / "lease.json")
    try:
        assert main(["label", "one", "--name", "1=rotation"]) == 2
    finally:
        lease.release()
    assert "is held by a live driver" in capsys.readouterr().err
    assert LatentModel.load(run.model).latents == ["f0", "f1", "f2"]


def test_the_exported_encoder_gives_the_same_codes_without_this_package(run: RunFolder, tmp_path: Path) -> None:
    main(["label", "one", "--name", "1=rotation"])
    assert main(["export", "one", "--out", str(tmp_path / "encoder.pt2")]) == 0
    known = {"encoder.json": ""}
    program = torch.export.load(tmp_path / "encoder.pt2", extra_files=known).module()
    assert json.loads(known["encoder.json"])["latents"] == ["f0", "rotation", "f2"]
    for count in (1, 7, 96):
        codes = program(torch.from_numpy(images()[:count])).numpy()
        np.testing.assert_allclose(codes, small_model().encode(images()[:count]), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encode", "two", "--out", "c.parquet"], ["model 'two'", "known runs: empty, one"]),
        (["encode", "empty", "--out", "c.parquet"], ["has no model yet", "pbt-disent resume"]),
        (
            ["encode", "one/model", "--data", "x.npy", "--out", "c.parquet"],
            ["x.npy", "is neither a world nor a file"],
        ),
        (
            ["encode", "one", "--data", "sprites", "--set", "size=64", "--out", "c.parquet"],
            ["of 1x64x64", "must be 1x32x32", "--set size=32"],
        ),
        (
            ["encode", "one", "--data", "rooms", "--set", "size=32", "--out", "c.parquet"],
            ["of 3x32x32", "must be 1x32x32", "convert them"],
        ),
        (["traverse", "one", "--data", "rooms", "--set", "size=32", "--out", "p"], ["of 3x32x32"]),
        (["encode", "one", "--out", "runs"], ["file runs", "is a folder"]),
        (["encode", "one", "--out", "file/c.parquet"], ["folder file", "cannot be written"]),
        (["encode", "one", "--out", "c.parquet", "--batch", "0"], ["--batch 0", "at least 1"]),
        (["traverse", "one", "--out", "file"], ["folder file", "cannot be written"]),
        (["traverse", "one", "--latent", "f9", "--out", "p"], ["latent 'f9'", "known: f0, f1, f2"]),
        (["traverse", "one", "--latent", "3", "--out", "p"], ["latent '3'"]),
        (["traverse", "one", "--image", "96", "--out", "p"], ["--image 96", "between 0 and 95"]),
        (["traverse", "one", "--frames", "1", "--out", "p"], ["--frames 1"]),
        (["label", "one", "--name", "rotation"], ["--name rotation", "latent=name"]),
        (["label", "one", "--name", "f4=rotation"], ["latent 'f4'", "did you mean"]),
        (["label", "one", "--name", "1=f2"], ["'f2'", "is taken by latent"]),
        (["label", "one", "--name", "1=a b"], ["'a b'", "must begin with a letter"]),
        (["label", "one", "--name", "1=index"], ["'index'", "another column"]),
        (["label", "models:/dots/1", "--name", "1=x"], ["cannot be changed in MLflow"]),
        (["encode", "models:/dots/1", "--out", "c.parquet"], ["MLFLOW_TRACKING_URI"]),
        (["export", "one", "--out", "encoder.onnx"], ["must be a file that ends in .pt2"]),
        (["export", "one", "--out", "file/e.pt2"], ["folder file", "cannot be written"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    run: RunFolder,
    arguments: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    create_run(validate({"data": WORLD}), "test", run.path.parent, "empty")
    Path("file").touch()
    arguments = [str(run.model) if one == "one/model" else one for one in arguments]
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    assert main(arguments) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("pbt-disent: ")
    assert all(word in error for word in words), error
    after = {
        path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file() and path.name != "lease.json"
    }
    assert after == before


def test_a_model_that_may_not_be_changed(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(latent_model, "write_atomically", refuse)
    assert main(["label", str(run.model), "--name", "1=rotation"]) == 2
    assert "cannot be written (Permission denied)" in capsys.readouterr().err
