"""Population-based bandits: choose the values that a time-varying Gaussian process expects to improve scores most.

Parker-Holder, Nguyen, Roberts (NeurIPS 2020, arXiv 2002.02518); the process is in `pbt_disent.population.bandit`.
Copies are chosen one after the other: those chosen before, and members that go on, count as if they had been observed,
which takes away the uncertainty around them (Desautels et al. 2014, GP-BUCB).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pbt_disent.population.explore import EXPLORES, Explore, ExploreContext, Offspring
from pbt_disent.types import Hyperparameters

__all__ = ["PB2"]

MIN_OBSERVATIONS = 4
"""With fewer observations a copy is drawn at random."""

MAX_CHANGE = 1e100
"""Observations with a larger change of the score are left out; their squares would overflow."""


@EXPLORES.register("pb2")
class PB2(Explore):
    """Choose what a Gaussian process of all generations so far expects to improve most (PB2)."""

    needs_observations: ClassVar[bool] = True

    def explore(self, offspring: Sequence[Offspring], context: ExploreContext) -> list[Hyperparameters]:
        """See `Explore.explore`; values are drawn at random while there are hardly any observations."""
        space = context.space
        observations = [o for o in context.observations if abs(o.after - o.before) < MAX_CHANGE]
        if len(observations) < MIN_OBSERVATIONS or not space:
            return [
                {**child.values, **{n: space[n].from_unit(float(child.generator.random())) for n in sorted(space)}}
                for child in offspring
            ]
        from pbt_disent.population.bandit import Bandit

        bandit = Bandit(space, observations)
        generation = context.generation + 1
        pending = [bandit.row(generation, None, values) for values in context.pending]
        explored = []
        for child in offspring:
            point = bandit.best(generation, child, pending)
            pending.append(bandit.join(generation, child.score, point))
            values = {name: space[name].from_unit(float(x)) for name, x in zip(sorted(space), point, strict=True)}
            explored.append({**child.values, **values})
        return explored
