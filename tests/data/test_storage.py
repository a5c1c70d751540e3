"""Stores: complete or absent, mapped and not copied, the same images as the set they were written from."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pbt_disent.data import StoredImages, Subset, load, materialise
from pbt_disent.data.base import ImageData, Indices
from pbt_disent.data.inspection import info
from pbt_disent.errors import UserError
from pbt_disent.types import UInt8Array

GRID = {"scale": 2, "orientation": 3, "x": 4, "y": 4}


@pytest.fixture
def sprites() -> ImageData:
    return load("sprites", size=16, grid=GRID)


class Breaking(Subset):
    """Fails, with what it is told to, once half of the images have been asked for."""

    def __init__(self, data: ImageData, error: BaseException) -> None:
        super().__init__(data, np.arange(len(data)))
        self.error = error

    def images(self, indices: Indices) -> UInt8Array:
        if np.max(indices) >= len(self) // 2:
            raise self.error
        return super().images(indices)


def everything(data: ImageData) -> UInt8Array:
    return data.images(np.arange(len(data)))


def test_a_store_holds_the_images_and_no_factors(sprites: ImageData, tmp_path: Path) -> None:
    stored: ImageData = materialise(sprites, tmp_path / "store")
    np.testing.assert_array_equal(everything(stored), everything(sprites))
    np.testing.assert_array_equal(stored.images([5, 3, 3]), sprites.images([5, 3, 3]))
    assert stored.factors([0]) is None
    for name in ("name", "fingerprint", "shape", "factor_names", "factor_sizes"):
        assert getattr(stored, name) == getattr(sprites, name)
    assert isinstance(stored, ImageData)


def test_the_array_is_mapped_read_only_and_batches_are_copies(sprites: ImageData, tmp_path: Path) -> None:
    stored = materialise(sprites, tmp_path)
    assert isinstance(stored.array, np.memmap)
    assert not stored.array.flags.writeable
    batch = stored.images([0])
    batch[:] = 7
    np.testing.assert_array_equal(stored.images([0]), sprites.images([0]))


def test_a_store_travels_as_its_path(sprites: ImageData, tmp_path: Path) -> None:
    stored = materialise(sprites, tmp_path)
    pickled = pickle.dumps(stored)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled).array, stored.array)


def test_the_same_images_are_written_once(sprites: ImageData, tmp_path: Path) -> None:
    first = Path(str(materialise(sprites, tmp_path).array.filename)).stat()
    same = Breaking(sprites, AssertionError("drawn again"))
    same.fingerprint = sprites.fingerprint
    second = Path(str(materialise(same, tmp_path).array.filename)).stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)


def test_images_of_a_store_are_linked_to_and_outlive_it(
    sprites: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = materialise(sprites, tmp_path / "first")
    for name, data in (("stored", first), ("labelled", load(tmp_path / "first"))):
        second = materialise(data, tmp_path / name)
        assert Path(str(second.array.filename)).samefile(str(first.array.filename))
        assert second.fingerprint == sprites.fingerprint
    shutil.rmtree(tmp_path / "first")
    np.testing.assert_array_equal(StoredImages(tmp_path / "labelled").array, everything(sprites))

    def other_disk(*_: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("os.link", other_disk)
    copied = materialise(StoredImages(tmp_path / "stored"), tmp_path / "copied")
    assert not Path(str(copied.array.filename)).samefile(str(StoredImages(tmp_path / "stored").array.filename))
    np.testing.assert_array_equal(copied.array, everything(sprites))


def test_other_images_replace_the_store_and_nothing_else(sprites: ImageData, tmp_path: Path) -> None:
    materialise(sprites, tmp_path)
    (tmp_path / "images-of-my-cat.npy").write_text("keep")
    other = load("sprites", size=8, grid=GRID)
    np.testing.assert_array_equal(materialise(other, tmp_path).array, everything(other))
    assert len(list(tmp_path.iterdir())) == 3
    assert (tmp_path / "images-of-my-cat.npy").read_text() == "keep"


def test_several_processes_write_the_same_bytes(
    sprites: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pbt_disent.data.storage.CHUNK_BYTES", 16 * 16 * 50)
    reports: list[tuple[int, int]] = []
    stored = materialise(sprites, tmp_path, lambda done, total: reports.append((done, total)), processes=2)
    np.testing.assert_array_equal(stored.array, everything(sprites))
    assert reports[-1] == (len(sprites), len(sprites))
    assert [done for done, _ in reports] == [50, 100, 150, 200, 250, 288]


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UserError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError("cannot draw"), ValueError),
    ],
)
def test_a_writer_that_fails_leaves_nothing(
    sprites: ImageData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    seen: type[BaseException],
) -> None:
    monkeypatch.setattr("pbt_disent.data.storage.CHUNK_BYTES", 16 * 16 * 50)
    with pytest.raises(seen):
        materialise(Breaking(sprites, error), tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="is no image store"):
        StoredImages(tmp_path)


def test_a_disk_that_is_too_small_is_noticed_first(
    sprites: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="free where"):
        materialise(Breaking(sprites, AssertionError("began to draw")), tmp_path)


def test_a_folder_that_cannot_be_written_is_named(
    sprites: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/store.*cannot be written"):
        materialise(sprites, tmp_path / "file" / "store")

    def forbidden(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "touch", forbidden)
    with pytest.raises(UserError, match=r"cannot be written.*PBT_DISENT_CACHE"):
        materialise(sprites, tmp_path / "other")


def test_damage_is_refused_and_repaired(sprites: ImageData, tmp_path: Path) -> None:
    stored = materialise(sprites, tmp_path)
    data, sidecar = Path(str(stored.array.filename)), tmp_path / "images.json"
    whole, text = data.read_bytes(), sidecar.read_text()
    damages = {
        "is damaged": (whole[:-1], text),
        "images.json": (whole, text[:-20]),
        "does not fit": (whole, text.replace('"length": 288', '"length": 289')),
        "format version 2": (whole, text.replace('"version": 1', '"version": 2')),
        "not one of an image store": (whole, json.dumps({"format": "other"})),
        "KeyError|'shape'": (
            whole,
            json.dumps({"format": "pbt-disent images", "version": 1, "name": "a", "fingerprint": "b"}),
        ),
    }
    for message, (content, described) in damages.items():
        data.write_bytes(content)
        sidecar.write_text(described)
        with pytest.raises(UserError, match=message):
            StoredImages(tmp_path)
        np.testing.assert_array_equal(materialise(sprites, tmp_path).array, everything(sprites))


def test_unfinished_files_of_a_killed_writer_are_removed(sprites: ImageData, tmp_path: Path) -> None:
    old, new, foreign = tmp_path / ".pbt-disent-a.tmp", tmp_path / ".pbt-disent-b.tmp", tmp_path / ".mine.tmp"
    for path in (old, new, foreign):
        path.touch()
    for path in (old, foreign):
        subprocess.run(["touch", "-d", "2 hours ago", path], check=True)
    materialise(sprites, tmp_path)
    assert [path.exists() for path in (old, new, foreign)] == [False, True, True]


def test_an_unfinished_file_may_be_finished_at_any_moment(
    sprites: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / ".pbt-disent-gone.tmp"
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [*glob(self, pattern), gone])
    assert len(materialise(sprites, tmp_path)) == len(sprites)


def test_a_rendered_grid_is_opened_with_its_factors_and_a_part_of_one_without(
    sprites: ImageData, tmp_path: Path
) -> None:
    materialise(sprites, tmp_path / "whole")
    whole = load(tmp_path / "whole")
    assert (whole.factor_names, whole.factor_sizes) == (sprites.factor_names, sprites.factor_sizes)
    np.testing.assert_array_equal(whole.factors(np.arange(len(whole))), sprites.factors(np.arange(len(sprites))))
    np.testing.assert_array_equal(whole.images([7, 3]), sprites.images([7, 3]))
    assert whole.fingerprint == sprites.fingerprint
    assert info(tmp_path / "whole")["factors"] == dict(zip(sprites.factor_names, sprites.factor_sizes, strict=True))
    materialise(Subset(sprites, [5, 3, 8]), tmp_path / "part")
    assert load(tmp_path / "part").factors([0]) is None
    assert info(tmp_path / "part")["factors"] == {}
