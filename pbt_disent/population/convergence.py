"""When a population is finished, and why."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pbt_disent.config import PopulationConfig

__all__ = ["verdict"]


def verdict(best: Sequence[float | None], population: PopulationConfig) -> str | None:
    """Say why a population stops after these generations, or none if it goes on.

    Args:
        best: the best score of each generation so far, none where no member had one.
        population: gives the constants of the rule.

    Returns:
        ``converged``: the best score moved less than `converged_change` in each of the last `converged_generations`
        steps (Estermann et al. 2020, as released); ``nothing_learned``: the same, or out of generations, with a best
        score under `give_up_below`; ``max_generations``; or none.
    """
    steps = population.converged_generations
    recent = best[-steps - 1 :]
    still = len(recent) == steps + 1 and all(
        earlier is not None and later is not None and abs(later - earlier) < population.converged_change
        for earlier, later in itertools.pairwise(recent)
    )
    finished = len(best) >= population.max_generations
    if not still and not finished:
        return None
    scores = [score for score in best if score is not None]
    if not scores or max(scores) < population.give_up_below:
        return "nothing_learned"
    return "converged" if still else "max_generations"
