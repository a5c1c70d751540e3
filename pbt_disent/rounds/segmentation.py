"""Cut one latent into segments of equal value: the boundaries are the gaps in its sorted codes.

Estermann et al. 2020 (arXiv 2010.13527) as released, with two mends: boundary i lies between the sorted values i and
i + 1, and a latent without boundaries is skipped by the caller instead of ending the recursion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks

from pbt_disent.config import SegmentationConfig
from pbt_disent.types import FloatArray, IntArray

__all__ = ["SEGMENTATIONS", "Segment", "boundaries_by_gaps", "segment"]


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


def boundaries_by_gaps(gaps: FloatArray, config: SegmentationConfig) -> IntArray:
    """Return the positions of the gaps that separate segments, ascending.

    Args:
        gaps: (N - 1,) differences between neighbouring sorted codes.
        config: the constants of the rule.
    """
    cut = int(len(gaps) * config.edge)
    core = gaps[cut : len(gaps) - cut]
    if len(core) < 3:
        return np.empty(0, dtype=np.int64)
    median = float(np.median(core))
    ordinary = core[core < median + config.outlier * float(np.std(core))]
    height = median + config.height * float(np.std(ordinary))
    peaks, _ = find_peaks(core, height=height, distance=max(1, int(len(gaps) * config.distance)))
    return np.asarray(peaks, dtype=np.int64) + cut


SEGMENTATIONS: dict[str, Callable[[FloatArray, SegmentationConfig], IntArray]] = {"gaps": boundaries_by_gaps}


def segment(codes: FloatArray, config: SegmentationConfig, *, outer: bool) -> list[Segment]:
    """Cut a latent; return its segments, cleanest first, or nothing where it has no boundary.

    Args:
        codes: (N,) posterior means of one latent.
        config: method and constants.
        outer: whether the two end segments count when there are two or three boundaries (they do when several
            latents are cut together). With one boundary both sides always count; with more than three, never.
    """
    order = np.argsort(codes, kind="stable")
    values = np.asarray(codes, dtype=np.float64)[order]
    gaps = np.diff(values)
    boundaries = SEGMENTATIONS[config.method](gaps, config)
    if len(boundaries) == 0:
        return []
    with_ends = len(boundaries) == 1 or (outer and len(boundaries) <= 3)
    starts = [0, *(boundaries + 1)] if with_ends else list(boundaries[:-1] + 1)
    stops = [*(boundaries + 1), len(values)] if with_ends else list(boundaries[1:] + 1)
    segments = []
    for start, stop in zip(starts, stops, strict=True):
        left = float(gaps[start - 1]) if start > 0 else 1.0
        right = float(gaps[stop - 1]) if stop < len(values) else 1.0
        inside = float(np.mean(gaps[start : stop - 1])) if stop - start > 1 else 0.0
        score = min(left, right) / inside if inside > 0 else float("inf")
        segments.append(Segment(np.sort(order[start:stop]), float(values[start]), float(values[stop - 1]), score))
    return sorted(segments, key=lambda item: (-item.score, item.low))
