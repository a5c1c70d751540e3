"""A store that this package has written, opened again by its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pbt_disent.data.base import ImageData
from pbt_disent.data.grid import FactorGrid
from pbt_disent.data.labels import Labelled
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.storage import SIDECAR, StoredImages

__all__ = ["open_stored"]


def match(path: Path) -> Match:
    """Know the folder by its sidecar."""
    return Match.SET if (path / SIDECAR).is_file() else Match.NO


def open_stored(path: Path) -> ImageData:
    """Return the images of a store, with their factors if it holds a whole rendered grid."""
    stored = StoredImages(path)
    if not stored.whole_grid:
        return stored
    grid = FactorGrid.full(dict(zip(stored.factor_names, stored.factor_sizes, strict=True)))
    return Labelled(stored, grid.factors(np.arange(len(stored))), grid.names, grid.sizes)


READERS.register("stored")(Reader("a folder written by `data render`", match, open_stored))
