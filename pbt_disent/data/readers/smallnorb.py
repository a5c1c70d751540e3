"""smallNORB (LeCun, Huang and Bottou 2004) from its binary matrices, plain or gzipped.

A matrix is a magic number, the number of dimensions, at least three dimensions (all int32, little-endian) and the
values. Each ``-dat`` file has a ``-cat`` file with the category and an ``-info`` file with instance, elevation,
azimuth (even numbers) and lighting beside it. A folder with both halves gives all ten instances.
"""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pbt_disent.data.base import Indices, as_indices, fingerprint_of
from pbt_disent.data.classes import class_ids
from pbt_disent.data.damage import DAMAGE, parts, reading
from pbt_disent.data.fingerprint import file_fingerprint
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.errors import UserError
from pbt_disent.files import cache_folder, writing
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["SmallNorb", "read_matrix"]

TYPES: dict[int, np.dtype[Any]] = {0x1E3D4C55: np.dtype("u1"), 0x1E3D4C54: np.dtype("<i4")}
NAMES = ("category", "instance", "elevation", "azimuth", "lighting")
ENDINGS = ("-dat.mat", "-dat.mat.gz")
MOST_DIMENSIONS = 4
NO_MATRIX = "is truncated or no smallNORB matrix"


def match(path: Path) -> Match:
    """Know a ``-dat`` file, or a folder that holds some, by its name and magic number."""
    files = _image_files(path)
    if not files:
        return Match.NO
    try:
        file = files[0]
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            known = int.from_bytes(opened.read(4), "little") in TYPES
    except DAMAGE:
        known = False
    return Match.SET if known else Match.NO


def read_matrix(path: Path, cache: Path | str | None = None) -> npt.NDArray[Any]:
    """Return the array in a binary matrix file, mapped; a gzipped one is unpacked once into the cache folder.

    Raises:
        UserError: it is none, or is truncated.
    """
    with reading(path, NO_MATRIX):
        plain = _unpacked(path, cache) if path.suffix == ".gz" else path
        with plain.open("rb") as file:
            magic, dimensions = _int32(file), _int32(file)
            if magic not in TYPES or not 0 < dimensions <= MOST_DIMENSIONS:
                raise ValueError(f"it begins with {magic:#x} and {dimensions} dimensions")
            shape = tuple(_int32(file) for _ in range(max(3, dimensions)))[:dimensions]
            if min(shape) < 1:
                raise ValueError(f"its lengths are {shape}")
            return np.memmap(plain, TYPES[magic], "r", file.tell(), shape)


class SmallNorb:
    """The images of one camera: category 5, instance 5 or 10, elevation 9, azimuth 18, lighting 6.

    Args:
        path: a ``-dat`` file, or a folder whose ``-dat`` files are read in the order of their names.
        camera: 0 for the left, 1 for the right image of each pair.
        cache: folder for unpacked files.

    Raises:
        UserError: a file is missing, damaged, or does not fit the others.
    """

    def __init__(self, path: Path, camera: int = 0, cache: Path | str | None = None) -> None:
        if isinstance(camera, bool) or camera not in (0, 1):
            raise UserError(f"camera {camera}", "must be 0 or 1", "take 0, the left one")
        self.name = "smallnorb"
        self._path, self._camera, self._cache = path, camera, cache
        files = _image_files(path)
        self._parts = [read_matrix(file, cache) for file in files]
        for file, part in zip(files, self._parts, strict=True):
            if (
                part.ndim != 4
                or part.shape[1] != 2
                or part.dtype != np.uint8
                or part.shape[2:] != self._parts[0].shape[2:]
            ):
                raise UserError(
                    f"file {file}", f"holds {part.dtype} of shape {part.shape}, not pairs", "download it again"
                )
        self._ends = np.cumsum([len(part) for part in self._parts])
        self.shape = (1, *self._parts[0].shape[2:])
        labels = np.concatenate(
            [_labels(file, len(part), cache) for file, part in zip(files, self._parts, strict=True)]
        )
        self._ids, self.factor_sizes = class_ids(list(labels.T))
        self.factor_names = NAMES
        self.fingerprint = fingerprint_of({"files": [file_fingerprint(file) for file in files], "camera": camera})

    def __reduce__(self) -> tuple[type[SmallNorb], tuple[Path, int, Path | str | None]]:
        return type(self), (self._path, self._camera, self._cache)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, 1, 96, 96) in the published files."""
        wanted = as_indices(indices, len(self))
        part_of = np.searchsorted(self._ends, wanted, side="right")
        images = np.empty((len(wanted), *self.shape), dtype=np.uint8)
        for number, part in enumerate(self._parts):
            here = part_of == number
            images[here, 0] = part[wanted[here] - (self._ends[number] - len(part)), self._camera]
        return images

    def factors(self, indices: Indices) -> IntArray:
        """Return the class ids at `indices`, (N, 5)."""
        return self._ids[as_indices(indices, len(self))]


def _image_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.name.endswith(ENDINGS))
    return [path] if path.name.endswith(ENDINGS) else []


def _int32(file: IO[bytes]) -> int:
    return int.from_bytes(file.read(4), "little", signed=True)


def _unpacked(path: Path, cache: Path | str | None) -> Path:
    folder = cache_folder(cache)
    name = f"{file_fingerprint(path)[:32]}.mat"
    if not (folder / name).exists():
        size = path.stat().st_size
        with writing(folder / name, size) as temporary, temporary.open("wb") as file:
            file.writelines(parts(path, NO_MATRIX, partial(gzip.open, path)))
    return folder / name


def _labels(images: Path, length: int, cache: Path | str | None) -> IntArray:
    """Return category, instance, elevation, azimuth and lighting (N, 5) as in the files beside `images`."""
    category = read_matrix(_beside(images, "cat"), cache)
    info = read_matrix(_beside(images, "info"), cache)
    if category.shape != (length,) or info.shape != (length, 4):
        raise UserError(f"labels of {images}", f"are {len(category)} for {length} images", "download them again")
    return np.column_stack([category, info]).astype(np.int64)


def _beside(images: Path, kind: str) -> Path:
    stem = images.name[: images.name.rindex("-dat.mat")]
    for ending in ("mat", "mat.gz"):
        path = images.with_name(f"{stem}-{kind}.{ending}")
        if path.exists():
            return path
    raise UserError(f"file {images}", f"has no -{kind} file beside it", f"put {stem}-{kind}.mat there")


READERS.register("smallnorb")(Reader("smallNORB -dat.mat, also gzipped, or a folder of them", match, SmallNorb))
