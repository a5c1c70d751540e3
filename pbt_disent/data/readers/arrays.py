"""Any images in an array: npy, npz and HDF5 with a named key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pbt_disent.data.array_files import Hdf5Rows, NpyRows, Rows, hdf5_shapes, npz_keys, npz_rows, npz_shape, read_npz
from pbt_disent.data.array_images import ArrayImages, Layout
from pbt_disent.data.base import ImageData, fingerprint_of
from pbt_disent.data.labels import class_ids
from pbt_disent.data.readers import READERS, Cache, Match, Reader
from pbt_disent.data.source_files import file_fingerprint
from pbt_disent.errors import UserError, nearest

__all__ = ["Arrays"]

USUAL_KEYS = ("images", "imgs", "image", "x", "X", "data", "arr_0")
SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")


@READERS.register("arrays")
class Arrays(Reader):
    """The images of an array file, with the labels that lie in the same file."""

    formats = "npy, npz, h5 or hdf5 with an array of images"
    is_balanced = False

    key: str | None = Field(
        None,
        description=(
            "The name of the array of images. By default it is the only array with three or four dimensions, or one "
            "with a usual name."
        ),
    )
    factor_key: str | None = Field(
        None, description="The name of an array (N, K) or (N,) of labels in the same file, taken as classes."
    )
    layout: Layout | None = Field(
        None, description="The order of the axes where the shape leaves it open: hw, chw or hwc."
    )
    cache: Cache = None

    @classmethod
    def match(cls, path: Path) -> Match:
        """Know the file by its suffix."""
        return Match.FORMAT if path.is_file() and path.suffix in SUFFIXES else Match.NO

    def read(self, path: Path) -> ImageData:
        """See `Reader.read`."""
        if path.stat().st_size == 0:
            raise UserError(f"file {path}", "is empty", "download or write it again")
        if path.suffix == ".npy" and (self.key or self.factor_key):
            raise UserError(
                f"key {self.key or self.factor_key!r}",
                "means nothing in an npy file, which has one array",
                "leave it out",
            )
        rows, key = self._open_rows(path)
        ids, names, sizes = None, tuple[str, ...](), tuple[int, ...]()
        if self.factor_key is not None:
            labels = _read_labels(path, self.factor_key)
            ids, sizes = class_ids(list(labels.T))
            numbered = tuple(f"{self.factor_key}_{number}" for number in range(len(sizes)))
            names = (self.factor_key,) if len(sizes) == 1 else numbered
        return ArrayImages(
            path.stem,
            fingerprint_of({"file": file_fingerprint(path), "key": key, "layout": self.layout}),
            rows,
            factors=ids,
            factor_names=names,
            factor_sizes=sizes,
            layout=self.layout,
        )

    def _open_rows(self, path: Path) -> tuple[Rows, str]:
        """Return the array of images and its name in the file."""
        if path.suffix == ".npy":
            return NpyRows(path), ""
        if path.suffix == ".npz":
            key = self.key if self.key is not None else _guess_key(path, _plain_npz_shapes(path))
            return npz_rows(path, key, self.cache), key
        key = self.key if self.key is not None else _guess_key(path, hdf5_shapes(path))
        return Hdf5Rows(path, key), key


def _read_labels(path: Path, key: str) -> npt.NDArray[Any]:
    if path.suffix == ".npz":
        labels = read_npz(path, key)
    else:
        rows = Hdf5Rows(path, key)
        labels = rows.read(np.arange(rows.shape[0])) if rows.shape else np.empty(())
    if labels.ndim not in (1, 2):
        raise UserError(f"labels {key!r} of {path}", f"have {labels.ndim} dimensions", "give N or N x K values")
    return labels.reshape(len(labels), -1)


def _plain_npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays that can be read without unpickling, by name."""
    shapes = {}
    for key in npz_keys(path):
        try:
            shapes[key] = npz_shape(path, key)
        except UserError:
            continue
    return shapes


def _guess_key(path: Path, shapes: dict[str, tuple[int, ...]]) -> str:
    candidates = [name for name, shape in shapes.items() if len(shape) in (3, 4)]
    usual = [name for name in USUAL_KEYS if name in candidates]
    if len(candidates) == 1 or usual:
        return (usual or candidates)[0]
    if not candidates:
        raise UserError(f"file {path}", "holds no array of images that can be read", nearest("images", shapes))
    raise UserError(f"file {path}", "holds several arrays", f"set key=NAME; {nearest('images', candidates)}")
