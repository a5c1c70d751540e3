"""Boundaries are the valleys of a kernel density whose bandwidth is the encoder's own noise.

A valley counts if it is deep against both its neighbouring modes, so that codes without levels stay whole.
"""

from __future__ import annotations

import itertools

import numpy as np
from pydantic import Field
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from pbt_disent.rounds.segmentation import SEGMENTATIONS, Segmentation
from pbt_disent.types import FloatArray, IntArray

__all__ = ["MAX_CELLS", "Density", "ValleySegmentation"]

CELLS_PER_WIDTH = 8
"""The number of cells of the density's grid within one bandwidth."""
MAX_CELLS = 5_000
"""The bandwidth is at least this part of the range of the codes."""


class ValleySegmentation(Segmentation):
    """Base of the rules that cut at the valleys of a density."""

    bandwidth: float = Field(0.5, gt=0, description="The width of the kernel in units of the encoder's noise.")
    valley: float = Field(
        0.2, gt=0, lt=1, description="The density of a valley, at most, as a share of that of its lower mode."
    )
    distance: float = Field(1 / 50, gt=0, lt=1, description="The share of the images in a segment, at least.")

    def density(self, values: FloatArray, noise: float, counts: IntArray, edges: FloatArray) -> FloatArray | None:
        """Return the density in each cell (cells,), or None where it cannot be estimated.

        Args:
            values: The sorted codes of a latent, (N,).
            noise: The standard deviation of the encoder's noise in this latent.
            counts: The number of codes in each cell, (cells,).
            edges: The edges of the cells, (cells + 1,).
        """
        raise NotImplementedError

    def boundaries(self, values: FloatArray, noise: float, min_images: int) -> IntArray:
        """See `Segmentation.boundaries`; a segment has `min_images` or more."""
        nothing = np.empty(0, dtype=np.int64)
        if values[-1] <= values[0]:
            return nothing
        span = float(values[-1] - values[0])
        width = max(self.bandwidth * noise, span / MAX_CELLS)
        counts, edges = np.histogram(values, bins=int(np.ceil(CELLS_PER_WIDTH * span / width)) + 1)
        density = self.density(values, noise, counts, edges)
        if density is None:
            return nothing
        valleys = _deep_valleys(density, counts, self.valley, max(self.distance * len(values), min_images))
        places = np.searchsorted(values, (edges[valleys] + edges[valleys + 1]) / 2)
        return np.unique(places[(places > 0) & (places < len(values))] - 1)


@SEGMENTATIONS.register("density")
class Density(ValleySegmentation):
    """Cut at the valleys of a kernel density."""

    def density(self, values: FloatArray, noise: float, counts: IntArray, edges: FloatArray) -> FloatArray:
        """Return the histogram, smoothed by a normal kernel."""
        smooth = gaussian_filter1d(counts.astype(np.float64), CELLS_PER_WIDTH * 1.0, mode="constant", truncate=6.0)
        return np.asarray(smooth, dtype=np.float64)


def _deep_valleys(density: FloatArray, counts: IntArray, depth_share: float, min_count: float) -> IntArray:
    """Return the cells of the valleys that remain when others are filled: shallow ones, then those beside small modes.

    Args:
        density: The smoothed counts, (cells,).
        counts: The number of codes in each cell, (cells,).
        depth_share: The greatest density of a valley, as a share of the lower of its two modes.
        min_count: The number of codes that a mode must hold between its valleys.
    """
    modes, _ = find_peaks(np.concatenate([[0.0], density, [0.0]]))
    peaks = [int(mode) - 1 for mode in modes]
    valleys = [left + int(np.argmin(density[left:right])) for left, right in itertools.pairwise(peaks)]
    below = np.concatenate([[0], np.cumsum(counts)])
    while valleys:
        depth = [
            density[valley] / min(density[left], density[right])
            for valley, (left, right) in zip(valleys, itertools.pairwise(peaks), strict=True)
        ]
        filled = int(np.argmax(depth))
        if depth[filled] <= depth_share:
            held = np.diff(below[[0, *(valley + 1 for valley in valleys), len(counts)]])
            small = int(np.argmin(held))
            if held[small] >= min_count:
                break
            filled = max((at for at in (small - 1, small) if 0 <= at < len(valleys)), key=lambda at: depth[at])
        del valleys[filled]
        del peaks[filled if density[peaks[filled]] < density[peaks[filled + 1]] else filled + 1]
    return np.asarray(valleys, dtype=np.int64)
