"""smallNORB (LeCun, Huang and Bottou 2004) from its binary matrices, plain or gzipped.

A matrix is a magic number, the number of dimensions, at least three dimensions (all int32, little-endian) and the
values. Each ``-dat`` file has a ``-cat`` file with the category and an ``-info`` file with instance, elevation,
azimuth (even numbers) and lighting beside it. A folder with both halves gives all ten instances. The digests are those
of TensorFlow Datasets (tensorflow_datasets/url_checksums).
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pbt_disent.data.base import ImageData, Indices, as_indices, fingerprint_of
from pbt_disent.data.labels import class_ids
from pbt_disent.data.readers import READERS, Cache, Match, PublishedFile, Reader
from pbt_disent.data.source_files import READ_ERRORS, file_fingerprint, read_chunks, reading
from pbt_disent.errors import UserError
from pbt_disent.files import cache_folder, writing
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["SmallNorb"]

DTYPES: dict[int, np.dtype[Any]] = {0x1E3D4C55: np.dtype("u1"), 0x1E3D4C54: np.dtype("<i4")}
FACTOR_NAMES = ("category", "instance", "elevation", "azimuth", "lighting")
SUFFIXES = ("-dat.mat", "-dat.mat.gz")
MAX_DIMENSIONS = 4
NO_MATRIX = "is truncated or no smallNORB matrix"
TESTING, TRAINING = "smallnorb-5x01235x9x18x6x2x96x96-testing", "smallnorb-5x46789x9x18x6x2x96x96-training"
DIGESTS = {
    f"{TESTING}-cat.mat.gz": ("ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff", 347),
    f"{TESTING}-dat.mat.gz": ("cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474", 130_799_817),
    f"{TESTING}-info.mat.gz": ("16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2", 10_428),
    f"{TRAINING}-cat.mat.gz": ("2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa", 348),
    f"{TRAINING}-dat.mat.gz": ("5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873", 131_896_188),
    f"{TRAINING}-info.mat.gz": ("de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32", 71_052),
}


@READERS.register("smallnorb")
class SmallNorb(Reader):
    """The images of one camera: category 5, instance 5 or 10, elevation 9, azimuth 18, lighting 6; (1, 96, 96)."""

    formats = "smallNORB -dat.mat, also gzipped, or a folder of them"
    published_files: ClassVar[Mapping[str, PublishedFile]] = {
        name: PublishedFile("TensorFlow Datasets", digest, length=length) for name, (digest, length) in DIGESTS.items()
    }

    camera: int = Field(0, ge=0, le=1, description="The left (0) or the right (1) image of each pair.")
    cache: Cache = None

    @classmethod
    def match(cls, path: Path) -> Match:
        """Know a ``-dat`` file, or a folder that holds some, by its name and magic number."""
        files = _image_files(path)
        if not files:
            return Match.NO
        try:
            with gzip.open(files[0]) if files[0].suffix == ".gz" else files[0].open("rb") as file:
                is_known = int.from_bytes(file.read(4), "little") in DTYPES
        except READ_ERRORS:
            is_known = False
        return Match.SET if is_known else Match.NO

    def read(self, path: Path) -> ImageData:
        """See `Reader.read`."""
        return _SmallNorbImages(path, self.camera, self.cache)


class _SmallNorbImages:
    """The images of one camera; pickles as its path."""

    def __init__(self, path: Path, camera: int, cache: Path | None) -> None:
        self.name = "smallnorb"
        self._path, self._camera, self._cache = path, camera, cache
        files = _image_files(path)
        self._pairs = [_read_matrix(file, cache) for file in files]
        for file, pairs in zip(files, self._pairs, strict=True):
            if (
                pairs.ndim != 4
                or pairs.shape[1] != 2
                or pairs.dtype != np.uint8
                or pairs.shape[2:] != self._pairs[0].shape[2:]
            ):
                raise UserError(
                    f"file {file}", f"holds {pairs.dtype} of shape {pairs.shape}, not pairs", "download it again"
                )
        self._ends = np.cumsum([len(pairs) for pairs in self._pairs])
        self.shape = (1, *self._pairs[0].shape[2:])
        labels = [_read_labels(file, len(pairs), cache) for file, pairs in zip(files, self._pairs, strict=True)]
        self._ids, self.factor_sizes = class_ids(list(np.concatenate(labels).T))
        self.factor_names = FACTOR_NAMES
        self.fingerprint = fingerprint_of({"files": [file_fingerprint(file) for file in files], "camera": camera})

    def __reduce__(self) -> tuple[type[_SmallNorbImages], tuple[Path, int, Path | None]]:
        return type(self), (self._path, self._camera, self._cache)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, 1, 96, 96) in the published files."""
        indices = as_indices(indices, len(self))
        file_of = np.searchsorted(self._ends, indices, side="right")
        images = np.empty((len(indices), *self.shape), dtype=np.uint8)
        for number, pairs in enumerate(self._pairs):
            is_here = file_of == number
            images[is_here, 0] = pairs[indices[is_here] - (self._ends[number] - len(pairs)), self._camera]
        return images

    def factors(self, indices: Indices) -> IntArray:
        """Return the class ids at `indices`, (N, 5)."""
        return self._ids[as_indices(indices, len(self))]


def _image_files(path: Path) -> list[Path]:
    """Return the ``-dat`` files of a folder in the order of their names, or the one that `path` is."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES))
    return [path] if path.name.endswith(SUFFIXES) else []


def _read_matrix(path: Path, cache: Path | None) -> npt.NDArray[Any]:
    """Return the array in a binary matrix file, mapped; a gzipped one is unpacked once into the cache."""
    with reading(path, NO_MATRIX):
        plain = _unpacked(path, cache) if path.suffix == ".gz" else path
        with plain.open("rb") as file:
            magic, dimensions = _read_int32(file), _read_int32(file)
            if magic not in DTYPES or not 0 < dimensions <= MAX_DIMENSIONS:
                raise ValueError(f"it begins with {magic:#x} and {dimensions} dimensions")
            shape = tuple(_read_int32(file) for _ in range(max(3, dimensions)))[:dimensions]
            if min(shape) < 1:
                raise ValueError(f"its lengths are {shape}")
            return np.memmap(plain, DTYPES[magic], "r", file.tell(), shape)


def _read_int32(file: IO[bytes]) -> int:
    return int.from_bytes(file.read(4), "little", signed=True)


def _unpacked(path: Path, cache: Path | None) -> Path:
    unpacked = cache_folder(cache) / f"{file_fingerprint(path)[:32]}.mat"
    if not unpacked.exists():
        with writing(unpacked, path.stat().st_size) as temporary, temporary.open("wb") as file:
            file.writelines(read_chunks(path, NO_MATRIX, partial(gzip.open, path)))
    return unpacked


def _read_labels(images: Path, length: int, cache: Path | None) -> IntArray:
    """Return category, instance, elevation, azimuth and lighting (N, 5) as in the files beside `images`."""
    category = _read_matrix(_beside(images, "cat"), cache)
    info = _read_matrix(_beside(images, "info"), cache)
    if category.shape != (length,) or info.shape != (length, 4):
        raise UserError(f"labels of {images}", f"are {len(category)} for {length} images", "download them again")
    return np.column_stack([category, info]).astype(np.int64)


def _beside(images: Path, kind: str) -> Path:
    """Return the ``-cat`` or ``-info`` file that belongs to a ``-dat`` file."""
    stem = images.name[: images.name.rindex("-dat.mat")]
    for suffix in ("mat", "mat.gz"):
        path = images.with_name(f"{stem}-{kind}.{suffix}")
        if path.exists():
            return path
    raise UserError(f"file {images}", f"has no -{kind} file beside it", f"put {stem}-{kind}.mat there")
