"""Parts of equal size, for factors without levels. Nothing is tested: any latent is cut."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from pbt_disent.rounds.segmentation import SEGMENTATIONS, Segmentation
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Quantile"]

SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


@SEGMENTATIONS.register("quantile")
class Quantile(Segmentation):
    """Cut into parts of equal size; equal codes stay together."""

    quantiles: int = Field(5, ge=2, description="The number of parts.")

    def boundaries(self, values: FloatArray, noise: float, min_images: int) -> IntArray:
        """See `Segmentation.boundaries`."""
        places = (np.arange(1, self.quantiles) * len(values)) // self.quantiles
        before, after = (np.searchsorted(values, values[places], side=side) for side in SIDES)
        ends = np.where(places - before <= after - places, before, after)
        return np.unique(ends[(ends > 0) & (ends < len(values))]) - 1
