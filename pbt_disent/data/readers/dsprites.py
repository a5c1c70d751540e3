"""dSprites (Matthey et al. 2017) from its npz or HDF5 file; in colour or with noise as a view on it.

The official npz pickles its `metadata`, which is not read. Factors come from index arithmetic on the order that the
authors publish; of a file with fewer images they come from `latents_classes`.
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
from pbt_disent.data.painted import Painted
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.rows import Hdf5Rows, npz_keys, npz_rows, read_npz
from pbt_disent.errors import UserError, nearest
from pbt_disent.types import IntArray

__all__ = ["GRID", "open_dsprites"]

GRID = FactorGrid.full({"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32})
VARIANTS = ("binary", "color", "noisy")


def match(path: Path) -> Match:
    """Know the file by the names of its arrays."""
    try:
        if path.suffix == ".npz":
            known = {"imgs", "latents_classes"} <= set(npz_keys(path))
        elif path.suffix in (".h5", ".hdf5"):
            with h5py.File(path, "r") as file:
                known = "imgs" in file and "latents/classes" in file
        else:
            known = False
    except DAMAGE:  # a UserError is a ValueError
        known = False
    return Match.SET if known else Match.NO


def open_dsprites(path: Path, variant: str = "binary", seed: int = 0, cache: Path | str | None = None) -> ImageData:
    """Return the images of a dSprites file.

    Args:
        path: the npz or HDF5 file.
        variant: ``binary`` (1, 64, 64); ``color``, each sprite in a colour of its own; ``noisy``, on uniform noise
            (both (3, 64, 64), disentanglement_lib's color and noisy dSprites, but the same each time for an index).
        seed: of the colours and the noise.
        cache: folder for the unpacked images of an npz.
    """
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}", "is none of dSprites", nearest(variant, VARIANTS))
    rows = npz_rows(path, "imgs", cache) if path.suffix == ".npz" else Hdf5Rows(path, "imgs")
    ids = file_factors(path) if rows.shape[0] != len(GRID) else None
    factors = published_factors(str(path), GRID, rows.shape[0], ids)
    data = ArrayImages(
        "dsprites",
        file_fingerprint(path),
        rows,
        factors=factors,
        factor_names=GRID.names,
        factor_sizes=GRID.sizes,
        layout="hw",
        stretch=255,
    )
    return data if variant == "binary" else Painted(data, variant, seed)


def file_factors(path: Path) -> IntArray:
    """Return the class ids (N, 5) that the file holds, without the colour, which is always white."""
    if path.suffix == ".npz":
        classes = read_npz(path, "latents_classes")
    else:
        rows = Hdf5Rows(path, "latents/classes")
        classes = rows.read(np.arange(rows.shape[0]))
    if classes.ndim != 2 or classes.shape[1] != 1 + len(GRID.names):
        raise UserError(f"latents_classes of {path}", f"has shape {classes.shape}, not N x 6", "download it again")
    return np.asarray(classes[:, 1:], dtype=np.int64)


READERS.register("dsprites")(Reader("dSprites npz or hdf5", match, open_dsprites, file_factors))
