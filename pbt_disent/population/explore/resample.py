"""Draw some values afresh between their bounds and keep the others (Jaderberg et al. 2017, `resample`)."""

from __future__ import annotations

from collections.abc import Sequence

from pbt_disent.population.explore import EXPLORE, Child, Surroundings
from pbt_disent.types import Hyperparameters

__all__ = ["resample"]


@EXPLORE.register("resample")
def resample(children: Sequence[Child], surroundings: Surroundings) -> list[Hyperparameters]:
    """Draw each searched value of each child afresh with probability `share`, uniformly on its own scale."""
    return [_resampled(child, surroundings) for child in children]


def _resampled(child: Child, surroundings: Surroundings) -> Hyperparameters:
    values = dict(child.values)
    for name in sorted(surroundings.space):
        chance, place = child.generator.random(2)
        if chance < surroundings.share:
            values[name] = surroundings.space[name].at(float(place))
    return values
