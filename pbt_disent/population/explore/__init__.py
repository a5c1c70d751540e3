"""How the hyperparameters of a copy change: the explore step of population-based training, one rule in each file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pbt_disent.config import Hyperparameter
from pbt_disent.registry import Component, Registry
from pbt_disent.types import Hyperparameters

__all__ = ["EXPLORES", "Explore", "ExploreContext", "Observation", "Offspring"]

EXPLORES: Registry[type[Explore]] = Registry("explore", "pbt_disent.population.explore")


@dataclass(frozen=True)
class Observation:
    """What a member's training in one generation was worth.

    Args:
        generation: The generation in which it trained.
        hyperparameters: The values with which it trained.
        before: The score that it started from, its parent's where it is a copy.
        after: The score that it reached.
    """

    generation: int
    hyperparameters: Hyperparameters
    before: float
    after: float


@dataclass(frozen=True)
class ExploreContext:
    """What all copies of a generation share.

    Args:
        space: The searched hyperparameters, with their bounds.
        generation: The generation that was scored last; the copies train in the next one.
        observations: What was observed of members with this space, oldest first; empty unless the rule asks for it.
        pending: The hyperparameters with which other members train in the next generation.
    """

    space: Mapping[str, Hyperparameter]
    generation: int
    observations: Sequence[Observation] = ()
    pending: Sequence[Hyperparameters] = ()


@dataclass(frozen=True)
class Offspring:
    """A copy of a member that is to get hyperparameters of its own.

    Args:
        values: The hyperparameters of its parent, fixed ones included.
        score: The score of its parent.
        generator: The random stream of the member whose place it takes.
    """

    values: Hyperparameters
    score: float
    generator: np.random.Generator


class Explore(Component):
    """Base of all explore rules."""

    needs_observations: ClassVar[bool] = False
    """Whether it learns from all generations so far; then these are kept in memory."""

    def explore(self, offspring: Sequence[Offspring], context: ExploreContext) -> list[Hyperparameters]:
        """Return the values of each copy, in order: every searched one within its bounds, every other unchanged.

        Args:
            offspring: The copies.
            context: What all copies of the generation share.
        """
        raise NotImplementedError
