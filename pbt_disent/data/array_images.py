"""Images out of arrays of any common layout and value range, as uint8 (N, C, H, W).

The layout comes from the shape: (N, H, W) is grey, the axis of length 1 or 3 holds the channels. The range comes from
the values: everything within 0 to 1 is stretched to 0 to 255, everything within 0 to 255 is rounded.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pbt_disent.data.array_files import Rows
from pbt_disent.data.base import Indices, as_indices
from pbt_disent.data.grid import FactorGrid
from pbt_disent.errors import UserError
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["ArrayImages", "Layout", "layout_of", "stretch_of"]

Layout = Literal["hw", "chw", "hwc"]
NUM_CHANNELS = (1, 3)
SCAN_ROWS = 256


class ArrayImages:
    """Images in the rows of an array, converted batch by batch.

    Args:
        name: The name of the set.
        fingerprint: The identity of the content.
        rows: The array.
        factors: The factor grid, or the class ids (N, K) together with `factor_names` and `factor_sizes`.
        factor_names: The names of the K factors.
        factor_sizes: The number of values of each factor.
        layout: Where the channels are. By default that is found from the shape.
        stretch: What bytes are multiplied by, 1 or 255. By default values may be of any type, and their range tells.

    Raises:
        UserError: The array holds no images, or no bytes where `stretch` is given.
    """

    def __init__(
        self,
        name: str,
        fingerprint: str,
        rows: Rows,
        *,
        factors: FactorGrid | IntArray | None = None,
        factor_names: tuple[str, ...] = (),
        factor_sizes: tuple[int, ...] = (),
        layout: Layout | None = None,
        stretch: int | None = None,
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.layout, self.shape = layout_of(name, rows.shape, layout)
        if stretch is not None and rows.dtype != np.uint8:
            raise UserError(f"images of {name}", f"are {rows.dtype}, not uint8 as published", "or set reader=arrays")
        self.stretch = stretch if stretch is not None else stretch_of(name, rows)
        self._rows = rows
        self._factors = factors
        self.factor_names = factors.names if isinstance(factors, FactorGrid) else factor_names
        self.factor_sizes = factors.sizes if isinstance(factors, FactorGrid) else factor_sizes
        if factors is not None and len(factors) != len(self):
            raise UserError(
                f"labels of {name}", f"are {len(factors)} for {len(self)} images", "give one row of labels per image"
            )

    def __len__(self) -> int:
        return self._rows.shape[0]

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, C, H, W).

        Raises:
            UserError: Bytes that should be 0 or 1 are not.
        """
        rows = self._rows.read(as_indices(indices, len(self)))
        if self.layout == "hw":
            rows = rows[:, None]
        elif self.layout == "hwc":
            rows = rows.transpose(0, 3, 1, 2)
        if self.stretch == 255 and rows.dtype == np.uint8 and rows.max(initial=0) > 1:
            raise UserError(f"images of {self.name}", f"reach {rows.max()}, not 1", "set reader=arrays")
        return _to_uint8(np.ascontiguousarray(rows), self.stretch)

    def factors(self, indices: Indices) -> IntArray | None:
        """Return the class ids at `indices`, (N, K), or None where the file has none."""
        indices = as_indices(indices, len(self))
        if self._factors is None:
            return None
        return self._factors.factors(indices) if isinstance(self._factors, FactorGrid) else self._factors[indices]


def layout_of(name: str, shape: tuple[int, ...], layout: Layout | None = None) -> tuple[Layout, tuple[int, int, int]]:
    """Return the layout of an array of images, and the shape (C, H, W) of one of them.

    Args:
        name: The name of the set, for messages.
        shape: The shape of the whole array.
        layout: The layout that the user has declared. By default the shape must leave no doubt.

    Raises:
        UserError: There is one image only, the channels cannot be told, or the declared layout does not fit.

    Example:
        >>> layout_of("mine", (100, 64, 64, 3))
        ('hwc', (3, 64, 64))
    """
    text = " x ".join(map(str, shape))
    if len(shape) not in (3, 4):
        raise UserError(f"array of {name}", f"has shape {text}, not N x H x W or N x C x H x W", "give many images")
    if shape[0] < 2 or min(shape) == 0:
        raise UserError(f"array of {name}", f"has shape {text}: at least two images are needed", "give more images")
    channel_axes = {"chw": 1, "hwc": 3}
    possible = (
        ["hw"] if len(shape) == 3 else [order for order, axis in channel_axes.items() if shape[axis] in NUM_CHANNELS]
    )
    if not possible:
        raise UserError(f"array of {name}", f"has shape {text}: no axis has 1 or 3 channels", "give grey or RGB images")
    if layout is not None and layout not in possible:
        raise UserError(f"layout {layout!r}", f"does not fit shape {text}", f"set {' or '.join(possible)}")
    if layout is None and len(possible) > 1:
        raise UserError(f"array of {name}", f"has shape {text}: which axis is colour?", "set layout=chw or layout=hwc")
    if layout is None and len(shape) == 3 and (shape[0] in NUM_CHANNELS or shape[2] in NUM_CHANNELS):
        raise UserError(f"array of {name}", f"has shape {text}, as a single image has", "give many, or set layout=hw")
    if len(shape) == 3:
        return "hw", (1, shape[1], shape[2])
    if possible[0] == "chw" and layout != "hwc":
        return "chw", (shape[1], shape[2], shape[3])
    return "hwc", (shape[3], shape[1], shape[2])


def stretch_of(name: str, rows: Rows) -> int:
    """Return 255 where all values lie within 0 to 1, else 1; looks at every value unless they are bytes.

    Raises:
        UserError: Values are not numbers, not finite or outside 0 to 255.
    """
    if rows.dtype.kind not in "buif":
        raise UserError(f"array of {name}", f"holds {rows.dtype}, not numbers", "give uint8 images")
    low, high = 0.0, 0.0
    for start in range(0, rows.shape[0], SCAN_ROWS):
        values = rows.read(np.arange(start, min(start + SCAN_ROWS, rows.shape[0])))
        lowest, highest = float(values.min()), float(values.max())
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            raise UserError(
                f"array of {name}",
                f"holds NaN or infinity in images {start} to {start + len(values) - 1}",
                "remove them",
            )
        low, high = min(low, lowest), max(high, highest)
        if rows.dtype == np.uint8 and high > 1:
            return 1
    if low < 0 or high > 255:
        raise UserError(
            f"array of {name}", f"holds values from {low:g} to {high:g}", "scale them to 0 to 1 or to 0 to 255"
        )
    return 255 if high <= 1 else 1


def _to_uint8(images: npt.NDArray[Any], stretch: int) -> UInt8Array:
    if images.dtype.kind == "f":
        return np.rint(images * np.float32(stretch)).astype(np.uint8)
    if images.dtype == np.uint8 and stretch == 1:
        return images
    return images.astype(np.uint8) * np.uint8(stretch)
