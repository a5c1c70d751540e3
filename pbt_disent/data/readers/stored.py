"""A store that this package has written, opened again by its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pbt_disent.data.base import ImageData
from pbt_disent.data.grid import FactorGrid
from pbt_disent.data.labels import LabelledImages
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.storage import SIDECAR, StoredImages

__all__ = ["Stored"]


@READERS.register("stored")
class Stored(Reader):
    """The images of a store, with their factors if it holds a whole rendered grid."""

    formats = "a folder written by `data render`"

    @classmethod
    def match(cls, path: Path) -> Match:
        """Know the folder by its sidecar."""
        return Match.SET if (path / SIDECAR).is_file() else Match.NO

    def read(self, path: Path) -> ImageData:
        """See `Reader.read`."""
        stored = StoredImages(path)
        if not stored.is_whole_grid:
            return stored
        grid = FactorGrid.full(dict(zip(stored.factor_names, stored.factor_sizes, strict=True)))
        return LabelledImages(stored, grid.factors(np.arange(len(stored))), grid.names, grid.sizes)
