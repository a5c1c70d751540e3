"""Grey images in colour or on noise, the same each time for an index, as in disentanglement_lib."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pbt_disent.data.base import ImageData, Indices, as_indices, fingerprint_of
from pbt_disent.data.scatter import uniform
from pbt_disent.errors import UserError
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["Painted"]

DARKEST = 0.5
VERSION = 1


class Painted:
    """A view of grey images (1, H, W) as RGB images (3, H, W).

    Args:
        data: the grey images.
        how: ``color`` multiplies each image by a colour with channels uniform in 0.5 to 1; ``noisy`` adds noise uniform
            in 0 to 1 to each channel of each pixel and cuts at white.
        seed: of the colours or the noise; they depend on it and on the index alone.

    Raises:
        UserError: the images are not grey, or the seed is none.
    """

    def __init__(self, data: ImageData, how: str, seed: int = 0) -> None:
        if data.shape[0] != 1:
            raise UserError(
                f"data {data.name}", f"has {data.shape[0]} channels: only grey images are painted", "drop it"
            )
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise UserError(f"seed {seed!r}", "must be a whole number, 0 or more", "leave it out")
        self._data, self._how, self._seed = data, how, seed
        self.name = f"{data.name}-{how}"
        self.fingerprint = fingerprint_of({"of": data.fingerprint, "how": how, "seed": seed, "version": VERSION})
        self.shape = (3, *data.shape[1:])
        self.factor_names = data.factor_names
        self.factor_sizes = data.factor_sizes

    def __len__(self) -> int:
        return len(self._data)

    def factors(self, indices: Indices) -> IntArray | None:
        """Return the class ids at `indices`, (N, K), or None."""
        return self._data.factors(indices)

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, 3, H, W)."""
        wanted = as_indices(indices, len(self))
        grey = self._data.images(wanted).astype(np.float32)
        if self._how == "color":
            painted = grey * self._draw(wanted, (3, 1, 1), DARKEST, 1.0)
        else:
            painted = np.minimum(grey + self._draw(wanted, self.shape, 0.0, 255.0), 255.0)
        return np.asarray(np.rint(painted), dtype=np.uint8)

    def _draw(
        self, indices: npt.NDArray[np.int64], shape: tuple[int, int, int], low: float, high: float
    ) -> npt.NDArray[np.float32]:
        count = int(np.prod(shape))
        places = indices[:, None] * count + np.arange(count)
        drawn = uniform(places, self._how, self._seed).reshape(len(indices), *shape)
        return (low + (high - low) * drawn).astype(np.float32)
