"""Cut one latent into segments of equal value.

`gaps`: the boundaries are the large gaps in the sorted codes (Estermann et al. 2020, arXiv 2010.13527, as released),
with two mends: boundary i lies between the sorted values i and i + 1, and a latent without boundaries is skipped by the
caller instead of ending the recursion. Codes without levels have gaps too, and the rule then cuts where nothing is.

`density`: the boundaries are the valleys of a kernel density whose bandwidth is the encoder's own noise. A valley
counts if it is deep against both its neighbouring modes, so that codes without levels stay whole.

`mixture`: the same with the density of a Gaussian mixture, whose number of components has the lowest BIC
(Schwarz 1978).

`quantile`: parts of equal size, for factors without levels. Nothing is tested: it cuts any latent.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from sklearn.exceptions import ConvergenceWarning

from pbt_disent.config import SegmentationConfig
from pbt_disent.types import FloatArray, IntArray

__all__ = [
    "SEGMENTATIONS",
    "Segment",
    "boundaries_by_density",
    "boundaries_by_gaps",
    "boundaries_by_mixture",
    "boundaries_by_quantile",
    "segment",
]


@dataclass(frozen=True)
class Segment:
    """A run of images whose codes in one latent are close together and set apart from the rest.

    Args:
        members: positions of its images in the codes, ascending.
        low: smallest code in it.
        high: largest code in it.
        score: the smaller of the two gaps that bound it, over the mean gap inside; higher is cleaner.
    """

    members: IntArray
    low: float
    high: float
    score: float


def boundaries_by_gaps(values: FloatArray, noise: float, config: SegmentationConfig) -> IntArray:
    """Return after which of the sorted values a segment ends, by the published rule.

    Args:
        values: (N,) sorted codes.
        noise: not used by this rule.
        config: the constants of the rule.
    """
    del noise
    gaps = np.diff(values)
    cut = int(len(gaps) * config.edge)
    core = gaps[cut : len(gaps) - cut]
    if len(core) < 3:
        return np.empty(0, dtype=np.int64)
    median = float(np.median(core))
    ordinary = core[core < median + config.outlier * float(np.std(core))]
    if len(ordinary) == 0:
        return np.empty(0, dtype=np.int64)
    height = median + config.height * float(np.std(ordinary))
    peaks, _ = find_peaks(core, height=height, distance=max(1, int(len(gaps) * config.distance)))
    return np.asarray(peaks, dtype=np.int64) + cut


def boundaries_by_density(values: FloatArray, noise: float, config: SegmentationConfig) -> IntArray:
    """Return after which of the sorted values a segment ends, by the valleys of their density.

    Args:
        values: (N,) sorted codes.
        noise: standard deviation of the encoder's noise in this latent.
        config: `bandwidth`, in units of the noise; `valley`, the greatest density of a valley as a share of the lower
            of its two modes; and `distance`, the share of the codes that a
            segment must hold, which are never fewer than `min_images`.
    """
    if values[-1] <= values[0]:
        return np.empty(0, dtype=np.int64)
    counts, edges = _cells(values, noise, config)
    density = gaussian_filter1d(counts.astype(np.float64), CELLS_PER_WIDTH * 1.0, mode="constant", truncate=6.0)
    return _cut_at_valleys(values, density, counts, edges, config)


def _cells(values: FloatArray, noise: float, config: SegmentationConfig) -> tuple[IntArray, FloatArray]:
    """Return a histogram of the values, fine beside the bandwidth: counts (cells,) and edges (cells + 1,)."""
    span = float(values[-1] - values[0])
    width = max(config.bandwidth * noise, span / MAX_CELLS)
    counts, edges = np.histogram(values, bins=int(np.ceil(CELLS_PER_WIDTH * span / width)) + 1)
    return counts, edges


def _cut_at_valleys(
    values: FloatArray, density: FloatArray, counts: IntArray, edges: FloatArray, config: SegmentationConfig
) -> IntArray:
    """Return after which of the sorted values a segment ends, given their density and number in each cell."""
    least = max(config.distance * len(values), config.min_images)
    valleys = _deep_valleys(density, counts, config.valley, least)
    places = np.searchsorted(values, (edges[valleys] + edges[valleys + 1]) / 2)
    return np.unique(places[(places > 0) & (places < len(values))] - 1)


CELLS_PER_WIDTH = 8
"""Cells of the density's grid within one bandwidth."""
MAX_CELLS = 5_000
"""The bandwidth is at least this part of the range of the codes."""


def _deep_valleys(density: FloatArray, counts: IntArray, share: float, least: float) -> IntArray:
    """Return the cells of the valleys that remain when others are filled: shallow ones, then those beside small modes.

    Args:
        density: (cells,) smoothed counts.
        counts: (cells,) codes in each cell.
        share: greatest density of a valley, as a share of the lower of its two modes.
        least: number of codes that a mode must hold between its valleys.
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
        if depth[filled] <= share:
            held = np.diff(below[[0, *(valley + 1 for valley in valleys), len(counts)]])
            small = int(np.argmin(held))
            if held[small] >= least:
                break
            filled = max((at for at in (small - 1, small) if 0 <= at < len(valleys)), key=lambda at: depth[at])
        del valleys[filled]
        del peaks[filled if density[peaks[filled]] < density[peaks[filled + 1]] else filled + 1]
    return np.asarray(valleys, dtype=np.int64)


def boundaries_by_mixture(values: FloatArray, noise: float, config: SegmentationConfig) -> IntArray:
    """Return after which of the sorted values a segment ends, by the components of a Gaussian mixture.

    Args:
        values: (N,) sorted codes.
        noise: standard deviation of the encoder's noise in this latent; the least width of a component.
        config: `components`, the most that are tried; the others as in `boundaries_by_density`.
    """
    from sklearn.mixture import GaussianMixture

    if values[-1] <= values[0]:
        return np.empty(0, dtype=np.int64)
    shown = values[np.linspace(0, len(values) - 1, min(len(values), MIXTURE_POINTS)).astype(np.int64)].reshape(-1, 1)
    floor = max(noise, float(values[-1] - values[0]) / MAX_CELLS) ** 2
    best, lowest = None, np.inf
    for components in range(1, min(config.components, len(shown) // 2) + 1):
        starts = np.quantile(shown, (np.arange(components) + 0.5) / components).reshape(-1, 1)
        mixture = GaussianMixture(
            components, means_init=starts, reg_covar=floor, max_iter=MIXTURE_STEPS, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            score = mixture.fit(shown).bic(shown)
        if score < lowest:
            best, lowest = mixture, score
    if best is None:
        return np.empty(0, dtype=np.int64)
    counts, edges = _cells(values, noise, config)
    centres = (edges[1:] + edges[:-1]) / 2
    return _cut_at_valleys(values, np.exp(best.score_samples(centres.reshape(-1, 1))), counts, edges, config)


MIXTURE_POINTS = 5_000
"""Codes that a mixture is fitted to, at most, evenly spread over their order."""
MIXTURE_STEPS = 200


SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


def boundaries_by_quantile(values: FloatArray, noise: float, config: SegmentationConfig) -> IntArray:
    """Return after which of the sorted values a segment ends: parts of equal size, equal codes staying together.

    Args:
        values: (N,) sorted codes.
        noise: not used by this rule.
        config: `quantiles`, the number of parts.
    """
    del noise
    places = (np.arange(1, config.quantiles) * len(values)) // config.quantiles
    before, after = (np.searchsorted(values, values[places], side=side) for side in SIDES)
    ends = np.where(places - before <= after - places, before, after)
    return np.unique(ends[(ends > 0) & (ends < len(values))]) - 1


Boundaries = Callable[[FloatArray, float, SegmentationConfig], IntArray]

SEGMENTATIONS: dict[str, Boundaries] = {
    "gaps": boundaries_by_gaps,
    "density": boundaries_by_density,
    "mixture": boundaries_by_mixture,
    "quantile": boundaries_by_quantile,
}


def segment(codes: FloatArray, noise: float, config: SegmentationConfig, *, several: bool) -> list[Segment]:
    """Cut a latent; return its segments, cleanest first, or nothing where it has no boundary.

    Args:
        codes: (N,) posterior means of one latent.
        noise: standard deviation of the encoder's noise in this latent.
        config: method and constants.
        several: whether several latents are cut together. By the published rule the two end segments count where
            there is one boundary, and where there are two or three of a latent that is cut together with others;
            `density` sees every boundary, so there the ends always count.
    """
    order = np.argsort(codes, kind="stable")
    values = np.asarray(codes, dtype=np.float64)[order]
    boundaries = SEGMENTATIONS[config.method](values, noise, config)
    if len(boundaries) == 0:
        return []
    with_ends = config.method != "gaps" or len(boundaries) == 1 or (several and len(boundaries) <= 3)
    starts = [0, *(boundaries + 1)] if with_ends else list(boundaries[:-1] + 1)
    stops = [*(boundaries + 1), len(values)] if with_ends else list(boundaries[1:] + 1)
    gaps = np.diff(values)
    segments = []
    for start, stop in zip(starts, stops, strict=True):
        left = float(gaps[start - 1]) if start > 0 else 1.0
        right = float(gaps[stop - 1]) if stop < len(values) else 1.0
        inside = float(np.mean(gaps[start : stop - 1])) if stop - start > 1 else 0.0
        score = min(left, right) / inside if inside > 0 else float("inf")
        segments.append(Segment(np.sort(order[start:stop]), float(values[start]), float(values[stop - 1]), score))
    return sorted(segments, key=lambda item: (-item.score, item.low))
