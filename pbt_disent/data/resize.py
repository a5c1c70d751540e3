"""Images of any set at another size."""

from __future__ import annotations

import numpy as np

from pbt_disent.data.base import ImageData, Indices, fingerprint_of
from pbt_disent.data.pictures import resized
from pbt_disent.errors import UserError
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["Resized"]

VERSION = 1


class Resized:
    """A view of images cut to the square in their middle and resized with Lanczos' filter.

    Args:
        data: the images.
        size: height and width of the result in pixels, 8 to 1024.

    Raises:
        UserError: a size that does not make sense.
    """

    def __init__(self, data: ImageData, size: int) -> None:
        if not isinstance(size, int) or not 8 <= size <= 1024:
            raise UserError(f"size {size!r}", "must be 8 to 1024 pixels", "say size=64")
        self._data, self._size = data, size
        self.name = data.name
        self.fingerprint = fingerprint_of({"of": data.fingerprint, "size": size, "version": VERSION})
        self.shape = (data.shape[0], size, size)
        self.factor_names, self.factor_sizes = data.factor_names, data.factor_sizes

    def __len__(self) -> int:
        return len(self._data)

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, C, size, size)."""
        found = self._data.images(indices)
        images = np.empty((len(found), *self.shape), dtype=np.uint8)
        for place, image in enumerate(found):
            images[place] = resized(image, self._size)
        return images

    def factors(self, indices: Indices) -> IntArray | None:
        """Return the class ids at `indices`, (N, K), or None."""
        return self._data.factors(indices)
