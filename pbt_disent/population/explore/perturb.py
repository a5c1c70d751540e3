"""Multiply each value by a factor (Jaderberg et al. 2017; the factors of Estermann et al. 2020 by default)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from pbt_disent.config import Mutable
from pbt_disent.population.explore import EXPLORE, Child, Surroundings
from pbt_disent.types import Hyperparameters

__all__ = ["mutate", "perturb"]


@EXPLORE.register("perturb")
def perturb(children: Sequence[Child], surroundings: Surroundings) -> list[Hyperparameters]:
    """Perturb every value of every child; see `mutate`."""
    return [mutate(one.values, surroundings.space, surroundings.factors, one.generator) for one in children]


def mutate(
    values: Hyperparameters, space: Mapping[str, Mutable], factors: Sequence[float], generator: np.random.Generator
) -> Hyperparameters:
    """Multiply each searched value by an independently drawn factor, within its bounds.

    A whole number that rounding would leave in place moves by one in the factor's direction. One of several choices
    moves to the next in that direction, and turns back where there is none.
    """
    child = dict(values)
    for name in sorted(space):
        factor = float(factors[int(generator.integers(len(factors)))])
        child[name] = _moved(values[name], space[name], factor)
    return child


def _moved(before: float, mutable: Mutable, factor: float) -> float:
    if factor == 1:
        return mutable.clip(before)
    direction = int(math.copysign(1, factor - 1))
    if mutable.choices:
        last, here = len(mutable.choices) - 1, mutable.choices.index(mutable.clip(before))
        there = here + direction if 0 <= here + direction <= last else here - direction
        return mutable.choices[min(max(there, 0), last)]
    after = mutable.clip(before * factor)
    return mutable.clip(before + direction) if mutable.integer and after == before else after
