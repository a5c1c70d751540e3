"""Whatever is done to a file of any format, and whatever an option is set to: one clear error or none, no traceback."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import io as matlab

from pbt_disent.data import READERS, WORLDS, load, materialise, reader_of
from pbt_disent.data.inspection import verify
from pbt_disent.errors import UserError
from tests.data.test_published_sets import write_dsprites_h5, write_dsprites_npz, write_norb, write_shapes3d

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 10, 10)).astype(np.uint8)
GRIDS = {
    "sprites": {"shape": 1, "scale": 1, "orientation": 2, "x": 2, "y": 2},
    "rooms": {"floor_hue": 1, "wall_hue": 1, "object_hue": 2, "scale": 1, "shape": 1, "orientation": 1},
}


def encoded(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, kind)
    return buffer.getvalue()


def write_array_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["deep/images"] = IMAGES


def write_folder(path: Path) -> None:
    path.mkdir()
    for number, kind in enumerate(["png", "jpeg", "bmp", "webp"] * 2):
        (path / f"{number}.{kind}").write_bytes(encoded(IMAGES[number % 6], kind))


def write_norb_folder(path: Path, packed: bool) -> None:
    path.mkdir()
    write_norb(path, "training", (4,), packed)


def write_cars(path: Path) -> None:
    path.mkdir()
    for car in range(2):
        mesh = np.random.default_rng(car).integers(0, 256, (8, 8, 3, 24, 4)).astype(np.uint8)
        matlab.savemat(path / f"car_{car}_mesh.mat", {"im": mesh}, do_compression=True)


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"image": [encoded(image, "png") for image in IMAGES]}), path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "dsprites.npz": write_dsprites_npz,
    "dsprites.hdf5": write_dsprites_h5,
    "shapes3d.h5": lambda path: write_shapes3d(path, np.arange(8)),
    "norb": lambda path: write_norb_folder(path, packed=False),
    "norb-packed": lambda path: write_norb_folder(path, packed=True),
    "cars": write_cars,
    "array.npy": lambda path: np.save(path, IMAGES),
    "array.npz": lambda path: np.savez(path, images=IMAGES),
    "packed.npz": lambda path: np.savez_compressed(path, images=IMAGES),
    "array.h5": write_array_h5,
    "pictures.parquet": write_parquet,
    "folder": write_folder,
    "store": lambda path: materialise(load("sprites", size=8, grid=GRIDS["sprites"]), path),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    for name, write in WRITERS.items():
        write(folder / name)
    return folder


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut off, flip bits anywhere or in the header, blank out a piece, or replace it all by noise."""
    changed = bytearray(content)
    match rng.choice(["cut", "flip", "header", "blank", "noise"]):
        case "cut":
            return bytes(changed[: rng.randrange(len(changed))])
        case "flip":
            for _ in range(rng.choice([1, 20])):
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        case "header":
            for _ in range(rng.choice([1, 3])):
                changed[rng.randrange(min(len(changed), 200))] = rng.randrange(256)
        case "blank":
            start = rng.randrange(len(changed))
            changed[start : start + 100] = bytes(len(changed[start : start + 100]))
        case _:
            return rng.randbytes(rng.choice([1, 10, 300]))
    return bytes(changed)


@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_found_or_read_and_never_a_traceback(name: str, originals: Path, tmp_path: Path) -> None:
    rng = random.Random(name)
    whole = originals / name
    assert not [finding for finding in verify(whole) if finding.level == "error" and "bytes, the" not in finding.text]
    refused = 0
    for attempt in range(12):
        copy = tmp_path / str(attempt) / name
        copy.parent.mkdir()
        (shutil.copytree if whole.is_dir() else shutil.copy)(whole, copy)
        file = rng.choice(sorted(path for path in copy.rglob("*") if path.is_file()) if copy.is_dir() else [copy])
        file.write_bytes(damaged(file.read_bytes(), rng))
        findings = verify(copy)
        assert all("\n" not in finding.text for finding in findings)
        refused += any(finding.level == "error" for finding in findings)
    assert refused >= 2


VALUES = [
    3, -1, 2.5, True, None, "x", "", [], [1], ["x"], {}, {"x": None}, {"x": 2.5}, {3: 1}, ["x", "y", "high"],
    ["x", "y", 0.5, "s"], ["x", "y", 0.5, -1], [1, 2, 3], "x < [1, 2]", "x in 3", "[1] in x", "(" * 300, float("nan"),
]  # fmt: skip


def is_refused(source: str | Path, options: dict[str, object]) -> bool:
    try:
        load(source, **options).images([0])
    except UserError as refusal:
        message = str(refusal)
    else:
        return False
    assert "\n" not in message
    return True


@pytest.mark.parametrize("name", [*GRIDS, *WRITERS])
def test_any_value_of_any_option_is_taken_or_refused_in_one_line(
    name: str, originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = name if name in GRIDS else originals / name
    component = WORLDS[name] if name in GRIDS else READERS[reader_of(originals / name)]
    usual = {"size": 8, "grid": GRIDS[name]} if name in GRIDS else {}
    refused = 0
    for option in {*component.model_fields, "size", "reader", "labels", "where", "correlation"}:
        for value in VALUES:
            refused += is_refused(source, {**usual, option: value})
    assert refused > 3 * len(VALUES)


def test_published_images_of_another_type_or_range_are_refused(tmp_path: Path) -> None:
    arrays = write_dsprites_npz(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", **{**arrays, "imgs": arrays["imgs"] / 1.0})
    with pytest.raises(UserError, match="are float64, not uint8 as published"):
        load(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", **{**arrays, "imgs": arrays["imgs"] * np.uint8(255)})
    with pytest.raises(UserError, match="reach 255, not 1; set reader=arrays"):
        load(tmp_path / "d.npz").images([0])
    assert load(tmp_path / "d.npz", reader="arrays", key="imgs").images([0]).max() == 255
