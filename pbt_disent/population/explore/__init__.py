"""Where a copy goes from its parent: the explore step of population-based training, a pure function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pbt_disent.config import Mutable
from pbt_disent.registry import Registry
from pbt_disent.types import Hyperparameters

__all__ = ["EXPLORE", "Child", "Explore", "Observation", "Surroundings"]


@dataclass(frozen=True)
class Observation:
    """What a member's training in one generation was worth.

    Args:
        generation: in which it trained.
        hyperparameters: with which.
        before: the score that it started from, its parent's where it is a copy.
        after: the score that it reached.
    """

    generation: int
    hyperparameters: Hyperparameters
    before: float
    after: float


@dataclass(frozen=True)
class Surroundings:
    """What all copies of a generation share.

    Args:
        space: the searched hyperparameters, with their bounds.
        factors: what a perturbation multiplies by.
        share: of the values that a resampling draws afresh.
        generation: that was scored last; the copies train in the next one.
        observations: all that was seen of members with this space, oldest first.
        pending: hyperparameters that others train with in the next generation.
    """

    space: Mapping[str, Mutable]
    factors: Sequence[float]
    share: float
    generation: int
    observations: Sequence[Observation] = ()
    pending: Sequence[Hyperparameters] = ()


@dataclass(frozen=True)
class Child:
    """A copy that is to get hyperparameters of its own.

    Args:
        values: its parent's, fixed ones included.
        score: its parent's.
        generator: its random stream.
    """

    values: Hyperparameters
    score: float
    generator: np.random.Generator


Explore = Callable[[Sequence[Child], Surroundings], list[Hyperparameters]]
"""Returns the values of each copy, in order, every searched one within its bounds and every other as it was."""

EXPLORE: Registry[Explore] = Registry("population.explore", "pbt_disent.population.explore")
