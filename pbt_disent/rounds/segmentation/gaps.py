"""The published rule: boundaries are the large gaps in the sorted codes (arXiv 2010.13527, as released).

Two corrections: boundary i lies between the sorted values i and i + 1, and a latent without boundaries is skipped by
the caller instead of ending the recursion. Codes without levels have gaps too, and the rule then cuts where nothing is.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy.signal import find_peaks

from pbt_disent.rounds.segmentation import SEGMENTATIONS, Segmentation
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Gaps"]


@SEGMENTATIONS.register("gaps")
class Gaps(Segmentation):
    """Cut at the large gaps between sorted codes, as published."""

    edge: float = Field(1 / 15, ge=0, lt=0.5, description="The share of the gaps that is dropped at each end.")
    height: float = Field(
        7.0, gt=0, description="The number of standard deviations by which a boundary exceeds the median gap."
    )
    outlier: float = Field(
        4.0, gt=0, description="The number of standard deviations beyond which a gap does not count into the deviation."
    )
    distance: float = Field(1 / 50, gt=0, lt=1, description="The share of the images between two boundaries, at least.")

    def boundaries(self, values: FloatArray, noise: float, min_images: int) -> IntArray:
        """See `Segmentation.boundaries`."""
        gaps = np.diff(values)
        cut = int(len(gaps) * self.edge)
        core = gaps[cut : len(gaps) - cut]
        if len(core) < 3:
            return np.empty(0, dtype=np.int64)
        median = float(np.median(core))
        ordinary = core[core < median + self.outlier * float(np.std(core))]
        if len(ordinary) == 0:
            return np.empty(0, dtype=np.int64)
        height = median + self.height * float(np.std(ordinary))
        peaks, _ = find_peaks(core, height=height, distance=max(1, int(len(gaps) * self.distance)))
        return np.asarray(peaks, dtype=np.int64) + cut

    def keeps_ends(self, num_boundaries: int, *, several: bool) -> bool:
        """Return whether there is one boundary, or two or three of a latent that is cut together with others."""
        return num_boundaries == 1 or (several and num_boundaries <= 3)
