"""3D Shapes (Burgess and Kim 2018, github.com/deepmind/3d-shapes) from its HDF5 file.

Factors come from index arithmetic on the published order. Of a file with fewer images they come from its `labels`,
rounded to the nearest level: cutting them off instead loses a level of scale to floating point. The digest is that of
TensorFlow Datasets (tensorflow_datasets/url_checksums).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np

from pbt_disent.data.array_files import Hdf5Rows
from pbt_disent.data.array_images import ArrayImages
from pbt_disent.data.base import ImageData
from pbt_disent.data.grid import FactorGrid, published_factors
from pbt_disent.data.readers import READERS, Match, PublishedFile, Reader
from pbt_disent.data.source_files import READ_ERRORS, file_fingerprint
from pbt_disent.errors import UserError
from pbt_disent.types import FloatArray, IntArray

__all__ = ["GRID", "Shapes3d", "levels_of"]

GRID = FactorGrid.full({"floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15})
LOWEST = np.array([0.0, 0.0, 0.0, 0.75, 0.0, -30.0])
HIGHEST = np.array([0.9, 0.9, 0.9, 1.25, 3.0, 30.0])
TOLERANCE = 0.25


@READERS.register("shapes3d")
class Shapes3d(Reader):
    """The images of a 3D Shapes file, (3, 64, 64) in the published one."""

    formats = "3D Shapes h5"
    published_files: ClassVar[Mapping[str, PublishedFile]] = {
        "3dshapes.h5": PublishedFile(
            "TensorFlow Datasets",
            "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785",
            length=267_573_662,
        )
    }

    @classmethod
    def match(cls, path: Path) -> Match:
        """Know the file by its images and six labels each."""
        if path.suffix not in (".h5", ".hdf5"):
            return Match.NO
        try:
            with h5py.File(path, "r") as file:
                images, labels = [getattr(file.get(key), "shape", ()) for key in ("images", "labels")]
        except READ_ERRORS:
            return Match.NO
        return Match.SET if len(images) == 4 and labels[1:] == (len(GRID.names),) else Match.NO

    def read(self, path: Path) -> ImageData:
        """See `Reader.read`."""
        rows = Hdf5Rows(path, "images")
        ids = self.file_factors(path) if rows.shape[0] != len(GRID) else None
        return ArrayImages(
            "shapes3d",
            file_fingerprint(path),
            rows,
            factors=published_factors(str(path), GRID, rows.shape[0], ids),
            factor_names=GRID.names,
            factor_sizes=GRID.sizes,
            layout="hwc",
            stretch=1,
        )

    @classmethod
    def file_factors(cls, path: Path) -> IntArray:
        """Return the levels (N, 6) that the file's labels stand for."""
        labels = Hdf5Rows(path, "labels")
        return levels_of(labels.read(np.arange(labels.shape[0])).astype(np.float64))


def levels_of(labels: FloatArray) -> IntArray:
    """Return the levels (N, 6) that the label values (N, 6) of the file stand for.

    Raises:
        UserError: A value lies between two levels.
    """
    levels = (labels - LOWEST) / (HIGHEST - LOWEST) * (np.array(GRID.sizes) - 1)
    nearest = np.rint(levels)
    if not (np.abs(levels - nearest) < TOLERANCE).all():
        raise UserError("labels of 3D Shapes", "hold a value between two levels", "download the file again")
    return np.asarray(nearest, dtype=np.int64)
