"""`sprites`: white squares, ellipses and hearts on black, on the factor grid of dSprites and in its index order.

The geometry was fitted to published frames of dSprites (Matthey et al. 2017, github.com/deepmind/dsprites-dataset):
the centre lies 16 + 32 p pixels from the top left corner of a 64 x 64 image for a position p in 0 to 1, the sprite is
turned by minus its orientation, and a pixel is white when the sprite covers at least half of it. Lengths below are in
pixels of that image at scale 1, y down. On 160 published frames 0.6 of 4,096 pixels differ on average, 4 at most.

Coverage is exact: each edge adds its signed area to the pixel it lies in and hands the rest of its height to the pixel
on the right; a running sum along each row then gives the covered area (the accumulation method of font rasterisers). It
does not depend on which polygons are drawn together.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pydantic import Field

from pbt_disent.data.base import Indices, as_indices
from pbt_disent.data.grid import FactorGrid
from pbt_disent.data.worlds import WORLDS, World
from pbt_disent.types import FloatArray, IntArray, Json, UInt8Array

__all__ = ["SIZES", "Sprites", "polygon_coverage"]

SIZES = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
SCALES = np.linspace(0.5, 1.0, SIZES["scale"])
ANGLES = np.linspace(0.0, 2 * np.pi, SIZES["orientation"])
POSITIONS = np.linspace(0.0, 1.0, SIZES["x"])
SQUARE_SIDE = 19.2
ELLIPSE_AXES = (12.775, 7.225)
HEART_CURVES = (
    ((0.0, -4.15), (0.13, -9.65), (6.75, -11.57), (9.3, -6.02)),
    ((9.3, -6.02), (11.37, 0.78), (2.16, 3.96), (0.0, 9.41)),
)
CHUNK = 64
HALF_COVERED = 0.5 - 1e-9


@WORLDS.register("sprites")
class Sprites(World):
    """White sprites on black, (1, H, W): shape (square, ellipse, heart), scale, orientation, x and y.

    Orientation is a closed circle: its first and last levels look the same.

    Example:
        >>> world = Sprites(size=32, grid={"orientation": 1, "x": 8, "y": 8})
        >>> len(world), world.factor_sizes
        (1152, (3, 6, 1, 8, 8))
        >>> world.images([0, 1000]).shape, world.factors([1000]).tolist()
        ((2, 1, 32, 32), [[2, 3, 0, 5, 0]])
    """

    full_grid = FactorGrid.full(SIZES)
    closed_factors = ("orientation",)
    channels = 1
    version = 1

    antialias: bool = Field(
        False, description="Whether to keep the covered area as a grey level instead of rounding it to black or white."
    )

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, 1, H, W), white (255) on black (0)."""
        indices = as_indices(indices, len(self))
        images = np.empty((len(indices), *self.shape), dtype=np.uint8)
        for start in range(0, len(indices), CHUNK):
            chunk = slice(start, start + CHUNK)
            images[chunk, 0] = self._draw(self.factor_grid.published(indices[chunk]))
        return images

    def _draw(self, levels: IntArray) -> UInt8Array:
        shape, scale, orientation, x, y = levels.T
        outlines = self._outlines[shape, scale, orientation]
        coverage, rows, columns = polygon_coverage(
            outlines[:, 0] + self._centres[x][:, None], outlines[:, 1] + self._centres[y][:, None]
        )
        if self.antialias:
            windows = np.rint(255.0 * np.minimum(coverage, 1.0)).astype(np.uint8)
        else:
            windows = (coverage >= HALF_COVERED).view(np.uint8) * np.uint8(255)
        side = windows.shape[1]
        images = np.zeros((len(levels), self.size, self.size), dtype=np.uint8)
        for image, window, top, left in zip(images, windows, rows.tolist(), columns.tolist(), strict=True):
            target = image[top : top + side, left : left + side]
            target[:] = window[: target.shape[0], : target.shape[1]]
        return images

    def _drawing_options(self) -> Json:
        return {"grey": self.antialias}  # fingerprints of earlier renderings call it so

    @cached_property
    def _centres(self) -> FloatArray:
        """The centre in pixels at each level of a position."""
        return np.asarray((16.0 + 32.0 * POSITIONS) * (self.size / 64))

    @cached_property
    def _outlines(self) -> FloatArray:
        """Every outline about its centre, (shape, scale, orientation, 2, E), x before y, in pixels, y down."""
        edges = 4 * max(16, -(-24 * self.size // 64))
        shapes = np.stack([_square(edges), _ellipse(edges), _heart(edges)]) * (self.size / 64)
        x, y = shapes[:, None, None, 0], shapes[:, None, None, 1]
        cos, sin = np.cos(ANGLES)[:, None], np.sin(ANGLES)[:, None]
        rotated = np.stack([cos * x + sin * y, cos * y - sin * x], axis=3)
        return np.asarray(SCALES[None, :, None, None, None] * rotated)


def _square(edges: int) -> FloatArray:
    along = np.linspace(-0.5, 0.5, edges // 4, endpoint=False) * SQUARE_SIDE
    half = np.full(edges // 4, SQUARE_SIDE / 2)
    return np.stack([np.concatenate([along, half, -along, -half]), np.concatenate([-half, along, half, -along])])


def _ellipse(edges: int) -> FloatArray:
    angle = np.linspace(0.0, 2 * np.pi, edges, endpoint=False)
    return np.stack([ELLIPSE_AXES[0] * np.cos(angle), ELLIPSE_AXES[1] * np.sin(angle)])


def _heart(edges: int) -> FloatArray:
    """Return the heart: two cubic Bezier curves from the notch to the tip, in equal steps of length, and the mirror."""
    t = np.linspace(0.0, 1.0, 501)[:, None]
    blend = np.concatenate([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3], axis=1)
    x, y = np.concatenate([blend @ np.array(curve) for curve in HEART_CURVES]).T
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    steps = np.linspace(0.0, length[-1], edges // 2 + 1)
    right_x, right_y = np.interp(steps, length, x), np.interp(steps, length, y)
    return np.stack([np.concatenate([right_x[:-1], -right_x[:0:-1]]), np.concatenate([right_y[:-1], right_y[:0:-1]])])


def polygon_coverage(x: FloatArray, y: FloatArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Return the part of each pixel that each polygon covers, in a window just large enough for all of them.

    Args:
        x: The horizontal positions (N, E) of the vertices in pixels. Edges must be at most one pixel long.
        y: The vertical positions (N, E) of the vertices in pixels.

    Returns:
        The coverage (N, S, S) in 0 to 1, up to rounding, and the row (N,) and column (N,) of each window's first pixel.
    """
    first_row, first_column = np.floor(y.min(axis=1)), np.floor(x.min(axis=1))
    size = 1 + int(max((y.max(axis=1) - first_row).max(), (x.max(axis=1) - first_column).max()))
    pieces_x, pieces_y = _split_at_pixels(x, y)
    height = pieces_y[1:] - pieces_y[:-1]
    middle = 0.5 * (pieces_x[1:] + pieces_x[:-1])
    column = np.floor(middle)
    row = np.floor(0.5 * (pieces_y[1:] + pieces_y[:-1]))
    right = height * (middle - column)
    width = size + 1
    start = np.arange(len(x)) * (size * width) - first_row * width - first_column
    cell = (start[:, None] + row * width + column).astype(np.int64).reshape(-1)
    total = len(x) * size * width
    area = np.bincount(cell, (height - right).reshape(-1), total)
    area[1:] += np.bincount(cell, right.reshape(-1), total)[:-1]
    coverage = np.cumsum(area.reshape(len(x), size, width)[:, :, :size], axis=2)
    return np.abs(coverage, out=coverage), first_row.astype(np.int64), first_column.astype(np.int64)


def _split_at_pixels(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cut every edge where it crosses a pixel border: four points, three pieces, some of them empty."""
    next_x, next_y = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    step_x, step_y = next_x - x, next_y - y
    cut_x, cut_y = _crossing(x, next_x, step_x), _crossing(y, next_y, step_y)
    first, second = np.minimum(cut_x, cut_y), np.maximum(cut_x, cut_y)
    points_x, points_y = np.empty((4, *x.shape)), np.empty((4, *y.shape))
    for points, start, end, step in ((points_x, x, next_x, step_x), (points_y, y, next_y, step_y)):
        points[0], points[3] = start, end
        points[1] = start + first * step
        points[2] = start + second * step
    return points_x, points_y


def _crossing(start: FloatArray, end: FloatArray, step: FloatArray) -> FloatArray:
    """Return where along the edge, in 0 to 1, it crosses a whole number; 1 where it does not."""
    low, high = np.floor(start), np.floor(end)
    return np.divide(np.maximum(low, high) - start, step, out=np.ones_like(start), where=low != high)
