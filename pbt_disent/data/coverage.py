"""Exact area coverage of pixels by closed polygons, many at once.

Each edge adds its signed area to the pixel it lies in and hands the rest of its height to the pixel on the right; a
running sum along each row then gives the covered area (the accumulation method of font rasterisers). The result is
exact up to rounding and does not depend on which polygons are drawn together.
"""

from __future__ import annotations

import numpy as np

from pbt_disent.types import FloatArray, IntArray

__all__ = ["polygon_coverage"]


def polygon_coverage(x: FloatArray, y: FloatArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Return the part of each pixel that each polygon covers, in a window just large enough for all of them.

    Args:
        x: (N, E) horizontal vertex positions in pixels; edges must be at most one pixel long.
        y: (N, E) vertical vertex positions in pixels.

    Returns:
        (N, S, S) coverage in 0 to 1, up to rounding, and the row (N,) and column (N,) of each window's first pixel.
    """
    first_row, first_column = np.floor(y.min(axis=1)), np.floor(x.min(axis=1))
    size = 1 + int(max((y.max(axis=1) - first_row).max(), (x.max(axis=1) - first_column).max()))
    breaks_x, breaks_y = _pieces(x, y)
    height = breaks_y[1:] - breaks_y[:-1]
    middle = 0.5 * (breaks_x[1:] + breaks_x[:-1])
    column = np.floor(middle)
    row = np.floor(0.5 * (breaks_y[1:] + breaks_y[:-1]))
    right = height * (middle - column)
    width = size + 1
    start = np.arange(len(x)) * (size * width) - first_row * width - first_column
    cell = (start[:, None] + row * width + column).astype(np.int64).reshape(-1)
    total = len(x) * size * width
    area = np.bincount(cell, (height - right).reshape(-1), total)
    area[1:] += np.bincount(cell, right.reshape(-1), total)[:-1]
    covered = np.cumsum(area.reshape(len(x), size, width)[:, :, :size], axis=2)
    return np.abs(covered, out=covered), first_row.astype(np.int64), first_column.astype(np.int64)


def _pieces(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cut every edge where it crosses a pixel border: four points, three pieces, some of them empty."""
    next_x, next_y = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    step_x, step_y = next_x - x, next_y - y
    cut_x, cut_y = _crossing(x, next_x, step_x), _crossing(y, next_y, step_y)
    first, second = np.minimum(cut_x, cut_y), np.maximum(cut_x, cut_y)
    breaks_x, breaks_y = np.empty((4, *x.shape)), np.empty((4, *y.shape))
    for breaks, start, end, step in ((breaks_x, x, next_x, step_x), (breaks_y, y, next_y, step_y)):
        breaks[0], breaks[3] = start, end
        breaks[1] = start + first * step
        breaks[2] = start + second * step
    return breaks_x, breaks_y


def _crossing(start: FloatArray, end: FloatArray, step: FloatArray) -> FloatArray:
    """Return where along the edge, in 0 to 1, it crosses a whole number; 1 where it does not."""
    low, high = np.floor(start), np.floor(end)
    return np.divide(np.maximum(low, high) - start, step, out=np.ones_like(start), where=low != high)
