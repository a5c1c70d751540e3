"""Any images in an array: npy, npz and HDF5 with a named key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pbt_disent.data.arrays import ArrayImages, Layout
from pbt_disent.data.base import ImageData, fingerprint_of
from pbt_disent.data.classes import class_ids
from pbt_disent.data.fingerprint import file_fingerprint
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.rows import Hdf5Rows, NpyRows, Rows, hdf5_shapes, npz_keys, npz_rows, npz_shape, read_npz
from pbt_disent.errors import UserError, nearest

__all__ = ["open_array"]

USUAL = ("images", "imgs", "image", "x", "X", "data", "arr_0")
SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")


def match(path: Path) -> Match:
    """Know the file by its suffix."""
    return Match.FORMAT if path.is_file() and path.suffix in SUFFIXES else Match.NO


def open_array(
    path: Path,
    key: str | None = None,
    factor_key: str | None = None,
    layout: Layout | None = None,
    cache: Path | str | None = None,
) -> ImageData:
    """Return the images of an array file.

    Args:
        path: the npy, npz, h5 or hdf5 file.
        key: the array of images; by default the only one with three or four dimensions, or one with a usual name.
        factor_key: an array (N, K) or (N,) of labels in the same file, taken as classes.
        layout: ``hw``, ``chw`` or ``hwc`` where the shape leaves it open.
        cache: folder for the unpacked images of a compressed npz.

    Raises:
        UserError: no such key, no images in it, or labels of another length.
    """
    if path.stat().st_size == 0:
        raise UserError(f"file {path}", "is empty", "download or write it again")
    if path.suffix == ".npy" and (key or factor_key):
        raise UserError(
            f"key {key or factor_key!r}", "means nothing in an npy file, which has one array", "leave it out"
        )
    rows, chosen = _rows(path, key, cache)
    ids, names, sizes = None, tuple[str, ...](), tuple[int, ...]()
    if factor_key is not None:
        labels = _labels(path, factor_key)
        ids, sizes = class_ids(list(labels.T))
        names = (factor_key,) if len(sizes) == 1 else tuple(f"{factor_key}_{number}" for number in range(len(sizes)))
    return ArrayImages(
        path.stem,
        fingerprint_of({"file": file_fingerprint(path), "key": chosen, "layout": layout}),
        rows,
        factors=ids,
        factor_names=names,
        factor_sizes=sizes,
        layout=layout,
    )


def _rows(path: Path, key: str | None, cache: Path | str | None) -> tuple[Rows, str]:
    if path.suffix == ".npy":
        return NpyRows(path), ""
    if path.suffix == ".npz":
        chosen = (
            key
            if key is not None
            else _guess(path, {name: npz_shape(path, name) for name in npz_keys(path) if _readable(path, name)})
        )
        return npz_rows(path, chosen, cache), chosen
    chosen = key if key is not None else _guess(path, hdf5_shapes(path))
    return Hdf5Rows(path, chosen), chosen


def _labels(path: Path, key: str) -> npt.NDArray[Any]:
    if path.suffix == ".npz":
        labels = read_npz(path, key)
    else:
        rows = Hdf5Rows(path, key)
        labels = rows.read(np.arange(rows.shape[0])) if rows.shape else np.empty(())
    if labels.ndim not in (1, 2):
        raise UserError(f"labels {key!r} of {path}", f"have {labels.ndim} dimensions", "give N or N x K values")
    return labels.reshape(len(labels), -1)


def _readable(path: Path, key: str) -> bool:
    """Tell whether an array can be read without unpickling."""
    try:
        npz_shape(path, key)
    except UserError:
        return False
    return True


def _guess(path: Path, shapes: dict[str, tuple[int, ...]]) -> str:
    likely = [name for name, shape in shapes.items() if len(shape) in (3, 4)]
    usual = [name for name in USUAL if name in likely]
    if len(likely) == 1 or usual:
        return (usual or likely)[0]
    if not likely:
        raise UserError(f"file {path}", "holds no array of images that can be read", nearest("images", shapes))
    raise UserError(f"file {path}", "holds several arrays", f"say key=NAME; {nearest('images', likely)}")


READERS.register("arrays")(Reader("npy, npz, h5 or hdf5 with an array of images", match, open_array))
