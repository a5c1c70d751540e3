"""Cut one latent into segments of equal value: one rule in each file, by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pbt_disent.registry import Component, Registry
from pbt_disent.types import FloatArray, IntArray

__all__ = ["SEGMENTATIONS", "Segment", "Segmentation"]

SEGMENTATIONS: Registry[type[Segmentation]] = Registry("segmentation", "pbt_disent.rounds.segmentation")


@dataclass(frozen=True)
class Segment:
    """A run of images whose codes in one latent are close together and set apart from the rest.

    Args:
        members: The positions of its images in the codes, ascending.
        low: The smallest code in it.
        high: The largest code in it.
        score: The smaller of the two gaps that bound it, over the mean gap inside; higher is cleaner.
    """

    members: IntArray
    low: float
    high: float
    score: float


class Segmentation(Component):
    """Base of all segmentation rules."""

    def boundaries(self, values: FloatArray, noise: float, min_images: int) -> IntArray:
        """Return after which of the sorted values a segment ends.

        Args:
            values: The sorted codes of a latent, (N,).
            noise: The standard deviation of the encoder's noise in this latent.
            min_images: The smallest number of images that a segment is of use with.
        """
        raise NotImplementedError

    def keeps_ends(self, num_boundaries: int, *, several: bool) -> bool:
        """Return whether what lies beyond the first and the last boundary are segments too.

        Args:
            num_boundaries: The number of boundaries of the latent.
            several: Whether several latents are cut together.
        """
        return True

    def segment(self, codes: FloatArray, noise: float, *, several: bool, min_images: int = 10) -> list[Segment]:
        """Cut a latent; return its segments, cleanest first, or nothing where it has no boundary.

        Args:
            codes: The posterior means of one latent, (N,).
            noise: The standard deviation of the encoder's noise in this latent.
            several: Whether several latents are cut together.
            min_images: The smallest number of images that a segment is of use with.
        """
        order = np.argsort(codes, kind="stable")
        values = np.asarray(codes, dtype=np.float64)[order]
        boundaries = self.boundaries(values, noise, min_images)
        if len(boundaries) == 0:
            return []
        with_ends = self.keeps_ends(len(boundaries), several=several)
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
        return sorted(segments, key=lambda segment: (-segment.score, segment.low))
