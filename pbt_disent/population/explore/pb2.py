"""Population-based bandits: choose the values that a time-varying Gaussian process expects to improve scores most.

Parker-Holder, Nguyen, Roberts (NeurIPS 2020, arXiv 2002.02518); the process is in `pbt_disent.population.bandit`.
Copies are chosen one after the other: those chosen before, and members that go on, count as if they had been seen,
which takes away the uncertainty around them (Desautels et al. 2014, GP-BUCB).
"""

from __future__ import annotations

from collections.abc import Sequence

from pbt_disent.population.explore import EXPLORE, Child, Surroundings
from pbt_disent.types import Hyperparameters

__all__ = ["pb2"]

FEWEST = 4
"""Observations: with fewer a copy is drawn at random."""

ABSURD = 1e100
"""No score changes by so much; its square would overflow."""


@EXPLORE.register("pb2")
def pb2(children: Sequence[Child], surroundings: Surroundings) -> list[Hyperparameters]:
    """Choose the values of the children; at random while hardly anything was seen."""
    space = surroundings.space
    seen = [one for one in surroundings.observations if abs(one.after - one.before) < ABSURD]
    if len(seen) < FEWEST or not space:
        return [
            {**child.values, **{name: space[name].at(float(child.generator.random())) for name in sorted(space)}}
            for child in children
        ]
    from pbt_disent.population.bandit import Bandit

    model = Bandit(space, seen)
    now = surroundings.generation + 1
    taken = [model.row(now, None, values) for values in surroundings.pending]
    chosen = []
    for child in children:
        places = model.best(now, child, taken)
        taken.append(model.place(now, child.score, places))
        values = {name: space[name].at(float(place)) for name, place in zip(sorted(space), places, strict=True)}
        chosen.append({**child.values, **values})
    return chosen
