"""Multiply each value by a random factor (Jaderberg et al. 2017, arXiv 1711.09846)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from pbt_disent.config import Hyperparameter
from pbt_disent.population.explore import EXPLORES, Explore, ExploreContext, Offspring
from pbt_disent.types import Hyperparameters

__all__ = ["Perturb"]


@EXPLORES.register("perturb")
class Perturb(Explore):
    """Multiply each searched value by an independently drawn factor, within its bounds.

    A whole number that rounding would leave in place moves by one in the factor's direction. One of several choices
    moves to the next in that direction, and turns back where there is none.
    """

    perturb_factors: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (2.0, 1.2, 0.8, 0.5),
        min_length=1,
        strict=False,
        description="The factors of which one is drawn; the default is that of Estermann et al. 2020.",
    )

    def explore(self, offspring: Sequence[Offspring], context: ExploreContext) -> list[Hyperparameters]:
        """See `Explore.explore`."""
        return [self._perturbed(child.values, context, child.generator) for child in offspring]

    def _perturbed(
        self, values: Hyperparameters, context: ExploreContext, generator: np.random.Generator
    ) -> Hyperparameters:
        perturbed = dict(values)
        for name in sorted(context.space):
            factor = self.perturb_factors[int(generator.integers(len(self.perturb_factors)))]
            perturbed[name] = _moved(values[name], context.space[name], factor)
        return perturbed


def _moved(before: float, declared: Hyperparameter, factor: float) -> float:
    if factor == 1:
        return declared.clip(before)
    direction = int(math.copysign(1, factor - 1))
    if declared.choices:
        last, index = len(declared.choices) - 1, declared.choices.index(declared.clip(before))
        following = index + direction if 0 <= index + direction <= last else index - direction
        return declared.choices[min(max(following, 0), last)]
    after = declared.clip(before * factor)
    return declared.clip(before + direction) if declared.integer and after == before else after
