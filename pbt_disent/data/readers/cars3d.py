"""Cars3D (Reed et al. 2015, Deep Visual Analogy-Making) from its folder of MATLAB files, one car each.

The key ``im`` holds (H, W, 3, 24 azimuths, 4 elevations). Images are indexed with the car slowest and the elevation
fastest, in the order of the files' names, and labelled in that same order. Only the archive around the files has a
published digest.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import io

from pbt_disent.data.base import ImageData, Indices, as_indices, fingerprint_of
from pbt_disent.data.grid import FactorGrid
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.source_files import READ_ERRORS, file_fingerprint, reading
from pbt_disent.errors import UserError
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["Cars3d"]

NUM_AZIMUTHS, NUM_ELEVATIONS = 24, 4
MAGIC = b"MATLAB 5.0"
MATLAB_ERRORS: tuple[type[Exception], ...] = (*READ_ERRORS, io.matlab.MatReadError)
CACHED_CARS = 8


@READERS.register("cars3d")
class Cars3d(Reader):
    """Views of cars: car (183 in the published set), azimuth 24, elevation 4; (3, 128, 128)."""

    formats = "Cars3D folder of .mat files"

    @classmethod
    def match(cls, path: Path) -> Match:
        """Know the folder by a first MATLAB file with an array ``im`` of five dimensions."""
        files = _car_files(path)
        if not files:
            return Match.NO
        try:
            with files[0].open("rb") as file:
                is_known = file.read(len(MAGIC)) == MAGIC
            is_known = is_known and any(name == "im" and len(shape) == 5 for name, shape, _ in io.whosmat(files[0]))
        except MATLAB_ERRORS:
            is_known = False
        return Match.SET if is_known else Match.NO

    def read(self, path: Path) -> ImageData:
        """See `Reader.read`."""
        return _Cars3dImages(path)


class _Cars3dImages:
    """The images of a folder; pickles as its path."""

    def __init__(self, path: Path) -> None:
        self.name = "cars3d"
        self._path, self._files = path, _car_files(path)
        if not self._files:
            raise UserError(f"folder {path}", "holds no .mat files", "give the folder with one .mat file per car")
        self._grid = FactorGrid.full({"car": len(self._files), "azimuth": NUM_AZIMUTHS, "elevation": NUM_ELEVATIONS})
        self.factor_names = self._grid.names
        self.factor_sizes = self._grid.sizes
        self.fingerprint = fingerprint_of({"cars3d": [file_fingerprint(file) for file in self._files]})
        first = _read_views(self._files[0])
        self.shape = (first.shape[1], first.shape[2], first.shape[3])

    def __reduce__(self) -> tuple[type[_Cars3dImages], tuple[Path]]:
        return type(self), (self._path,)

    def __len__(self) -> int:
        return len(self._grid)

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, 3, H, W); quickest when neighbours are asked for together."""
        indices = as_indices(indices, len(self))
        images = np.empty((len(indices), *self.shape), dtype=np.uint8)
        cars, positions = np.divmod(indices, NUM_AZIMUTHS * NUM_ELEVATIONS)
        for car in np.unique(cars):
            views = _read_views(self._files[car])
            if views.shape[1:] != self.shape:
                raise UserError(f"file {self._files[car]}", "has images of another size", "download it again")
            images[cars == car] = views[positions[cars == car]]
        return images

    def factors(self, indices: Indices) -> IntArray:
        """Return the class ids at `indices`, (N, 3)."""
        return self._grid.factors(indices)


def _car_files(path: Path) -> list[Path]:
    return sorted(path.glob("*.mat")) if path.is_dir() else []


@lru_cache(maxsize=CACHED_CARS)
def _read_views(path: Path) -> UInt8Array:
    """Return the views of one car, (96, 3, H, W), elevation fastest."""
    with reading(path, "is truncated or no car", also=MATLAB_ERRORS):
        mesh = io.loadmat(path, variable_names=["im"])["im"]
    if (
        not isinstance(mesh, np.ndarray)
        or mesh.ndim != 5
        or mesh.shape[2:] != (3, NUM_AZIMUTHS, NUM_ELEVATIONS)
        or mesh.dtype != np.uint8
    ):
        raise UserError(f"file {path}", f"holds {mesh.dtype} of shape {mesh.shape}", "download it again")
    views = mesh.transpose(3, 4, 2, 0, 1)
    return np.ascontiguousarray(views.reshape(NUM_AZIMUTHS * NUM_ELEVATIONS, *views.shape[2:]))
