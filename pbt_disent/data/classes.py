"""Class ids out of labels as they come in files: numbers, texts, with gaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pbt_disent.data.base import UNKNOWN
from pbt_disent.data.grid import FactorGrid
from pbt_disent.errors import UserError
from pbt_disent.types import IntArray

__all__ = ["class_ids", "published_factors"]


def class_ids(values: Sequence[npt.NDArray[Any]]) -> tuple[IntArray, tuple[int, ...]]:
    """Number the different values of each column in their order; NaN and None become `UNKNOWN`.

    Args:
        values: K columns of N values, numbers or texts.

    Returns:
        (N, K) class ids, and the number of classes of each column.
    """
    ids = [_numbered(np.asarray(column)) for column in values]
    return np.stack(ids, axis=1), tuple(int(column.max(initial=UNKNOWN)) + 1 for column in ids)


def published_factors(name: str, grid: FactorGrid, length: int, ids: IntArray | None) -> FactorGrid | IntArray:
    """Return the factors of a published set: index arithmetic for the whole set, the file's own ids for a part of it.

    Args:
        name: of the file, for messages.
        grid: the published grid.
        length: number of images in the file.
        ids: (N, K) class ids from the file, which a whole set does not need.

    Raises:
        UserError: a part of the set without ids, or with ids that the grid does not have.
    """
    if length == len(grid):
        return grid
    if ids is None:
        raise UserError(
            f"file {name}",
            f"holds {length} images, the published set {len(grid)}",
            "download it again, or name a reader",
        )
    if ids.shape != (length, len(grid.names)):
        raise UserError(
            f"labels of {name}",
            f"have shape {ids.shape} for {length} images and {len(grid.names)} factors",
            "repair them",
        )
    if length and (ids.min() < 0 or (ids.max(axis=0) >= grid.sizes).any()):
        raise UserError(f"labels of {name}", f"go beyond the published {grid.sizes} values", "repair them")
    return ids


def _numbered(column: npt.NDArray[Any]) -> IntArray:
    values = column.tolist()
    known = np.array([value is not None and not (isinstance(value, float) and math.isnan(value)) for value in values])
    ids = np.full(len(column), UNKNOWN, dtype=np.int64)
    if known.any():
        present = np.array([value for value, keep in zip(values, known, strict=True) if keep])
        ids[known] = np.unique(present, return_inverse=True)[1]
    return ids
