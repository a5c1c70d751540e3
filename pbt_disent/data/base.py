"""What a set of images is to the rest of the package: a protocol, and the view of a part of it.

Images are uint8 and stay where they are; a part of a set is an index array, never a copy. True factors are read by
evaluation only, through `factors`, so that no training code needs them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pbt_disent.types import IntArray, Json, UInt8Array

__all__ = ["UNKNOWN", "ImageData", "Indices", "ProgressCallback", "Subset", "as_indices", "fingerprint_of"]

UNKNOWN = -1
"""The class id of a factor that nobody knows for an image."""

Indices = IntArray | Sequence[int]

ProgressCallback = Callable[[int, int], None]
"""Called with the number of images that are done and the number of all images."""


@runtime_checkable
class ImageData(Protocol):
    """N images of one shape, with or without known factors."""

    @property
    def name(self) -> str:
        """What the set is called in tables and in lineage."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hexadecimal identity of the content; equal fingerprints mean equal images."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one image."""
        ...

    @property
    def factor_names(self) -> tuple[str, ...]:
        """The names of the K factors; empty where none are known."""
        ...

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """The number of values of each factor."""
        ...

    def __len__(self) -> int: ...

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, C, H, W) in 0 to 255."""
        ...

    def factors(self, indices: Indices) -> IntArray | None:
        """Return the class ids at `indices`, (N, K), `UNKNOWN` where one is not known; None where none are known."""
        ...


def as_indices(indices: Indices, length: int) -> npt.NDArray[np.int64]:
    """Return `indices` as a checked int64 array of one dimension.

    Args:
        indices: The indices, an array of shape (N,), a sequence, or a single index.
        length: The number of images that can be indexed.

    Raises:
        TypeError: The indices are not whole numbers.
        IndexError: An index lies outside 0 to `length` - 1.
    """
    array = np.atleast_1d(np.asarray(indices))
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"image indices must be one row of whole numbers, not {array.dtype} of shape {array.shape}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= length:
        raise IndexError(f"image index {low if low < 0 else high} lies outside 0 to {length - 1}")
    return array.astype(np.int64, copy=False)


def fingerprint_of(description: Json) -> str:
    """Return the hexadecimal SHA-256 of a JSON description of how images come about."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Subset:
    """A part of a set, as an index array into it.

    Args:
        data: The whole set.
        indices: The indices (N,) of the images of the part, in their order.
        name: The name of the part. By default it is the name of the whole with the number of images.

    Example:
        >>> from pbt_disent.data import load
        >>> part = Subset(load("sprites", size=16), [0, 7, 700_000])
        >>> part.name, part.images([2]).shape
        ('sprites[3]', (1, 1, 16, 16))
    """

    def __init__(self, data: ImageData, indices: Indices, name: str | None = None) -> None:
        self.data = data
        self.indices = as_indices(indices, len(data))
        self.name = name or f"{data.name}[{len(self.indices)}]"
        content = hashlib.sha256(self.indices.astype("<i8").tobytes()).hexdigest()
        self.fingerprint = fingerprint_of({"subset": data.fingerprint, "indices": content})
        self.shape = data.shape
        self.factor_names = data.factor_names
        self.factor_sizes = data.factor_sizes

    def __len__(self) -> int:
        return len(self.indices)

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at these places of the part, (N, C, H, W)."""
        return self.data.images(self.indices[as_indices(indices, len(self))])

    def factors(self, indices: Indices) -> IntArray | None:
        """Return the class ids at these places of the part, (N, K), or None."""
        return self.data.factors(self.indices[as_indices(indices, len(self))])
