"""3D Shapes (Burgess and Kim 2018) from its HDF5 file.

Factors come from index arithmetic on the published order. Of a file with fewer images they come from its `labels`,
rounded to the nearest level: cutting them off instead loses a level of scale to floating point.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from pbt_disent.data.arrays import ArrayImages
from pbt_disent.data.base import ImageData
from pbt_disent.data.classes import published_factors
from pbt_disent.data.damage import DAMAGE
from pbt_disent.data.fingerprint import file_fingerprint
from pbt_disent.data.grid import FactorGrid
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.rows import Hdf5Rows
from pbt_disent.errors import UserError
from pbt_disent.types import FloatArray, IntArray

__all__ = ["GRID", "levels_of", "open_shapes3d"]

GRID = FactorGrid.full({"floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15})
LOWEST = np.array([0.0, 0.0, 0.0, 0.75, 0.0, -30.0])
HIGHEST = np.array([0.9, 0.9, 0.9, 1.25, 3.0, 30.0])
TOLERANCE = 0.25


def match(path: Path) -> Match:
    """Know the file by its images and six labels each."""
    if path.suffix not in (".h5", ".hdf5"):
        return Match.NO
    try:
        with h5py.File(path, "r") as file:
            shapes = [getattr(file.get(key), "shape", ()) for key in ("images", "labels")]
    except DAMAGE:
        return Match.NO
    return Match.SET if len(shapes[0]) == 4 and shapes[1][1:] == (len(GRID.names),) else Match.NO


def levels_of(labels: FloatArray) -> IntArray:
    """Return the levels (N, 6) that the label values (N, 6) of the file stand for.

    Raises:
        UserError: a value lies between two levels.
    """
    levels = (labels - LOWEST) / (HIGHEST - LOWEST) * (np.array(GRID.sizes) - 1)
    nearest = np.rint(levels)
    if not (np.abs(levels - nearest) < TOLERANCE).all():
        raise UserError("labels of 3D Shapes", "hold a value between two levels", "download the file again")
    return np.asarray(nearest, dtype=np.int64)


def open_shapes3d(path: Path) -> ImageData:
    """Return the images of a 3D Shapes file, (3, 64, 64) in the published one."""
    rows = Hdf5Rows(path, "images")
    ids = file_factors(path) if rows.shape[0] != len(GRID) else None
    factors = published_factors(str(path), GRID, rows.shape[0], ids)
    return ArrayImages(
        "shapes3d",
        file_fingerprint(path),
        rows,
        factors=factors,
        factor_names=GRID.names,
        factor_sizes=GRID.sizes,
        layout="hwc",
        stretch=1,
    )


def file_factors(path: Path) -> IntArray:
    """Return the levels (N, 6) that the file's labels stand for."""
    labels = Hdf5Rows(path, "labels")
    return levels_of(labels.read(np.arange(labels.shape[0])).astype(np.float64))


READERS.register("shapes3d")(Reader("3D Shapes h5", match, open_shapes3d, file_factors))
