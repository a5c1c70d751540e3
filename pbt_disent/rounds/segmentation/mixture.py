"""Boundaries are the valleys of a Gaussian mixture whose number of components has the lowest BIC (Schwarz 1978)."""

from __future__ import annotations

import warnings

import numpy as np
from pydantic import Field

from pbt_disent.rounds.segmentation import SEGMENTATIONS
from pbt_disent.rounds.segmentation.density import MAX_CELLS, ValleySegmentation
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Mixture"]

MIXTURE_POINTS = 5_000
"""The number of codes that a mixture is fitted to, at most, evenly spread over their order."""
MIXTURE_STEPS = 200


@SEGMENTATIONS.register("mixture")
class Mixture(ValleySegmentation):
    """Cut at the valleys of a Gaussian mixture."""

    components: int = Field(12, ge=2, description="The number of components that are tried, at most.")

    def density(self, values: FloatArray, noise: float, counts: IntArray, edges: FloatArray) -> FloatArray | None:
        """Return the density of the best mixture in each cell; a component is no narrower than the noise."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        picked = np.linspace(0, len(values) - 1, min(len(values), MIXTURE_POINTS)).astype(np.int64)
        sample = values[picked].reshape(-1, 1)
        floor = max(noise, float(values[-1] - values[0]) / MAX_CELLS) ** 2
        best, lowest = None, np.inf
        for components in range(1, min(self.components, len(sample) // 2) + 1):
            starts = np.quantile(sample, (np.arange(components) + 0.5) / components).reshape(-1, 1)
            mixture = GaussianMixture(
                components, means_init=starts, reg_covar=floor, max_iter=MIXTURE_STEPS, random_state=0
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                bic = mixture.fit(sample).bic(sample)
            if bic < lowest:
                best, lowest = mixture, bic
        if best is None:
            return None
        centres = (edges[1:] + edges[:-1]) / 2
        return np.exp(np.asarray(best.score_samples(centres.reshape(-1, 1)), dtype=np.float64))
