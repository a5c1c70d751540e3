"""What a run will cost, from its config alone: models, image passes, memory and disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pbt_disent.config import Config, ObjectiveConfig, PopulationConfig
from pbt_disent.rounds.populations import RECURSIVE, final_population, first_population, leaf_population
from pbt_disent.rounds.spending import rate_of_sections

__all__ = ["Budget", "RoundBudget", "budget"]


@dataclass(frozen=True)
class RoundBudget:
    """The most that one kind of round can cost.

    Args:
        name: what it is called in the plan.
        rounds: how many such rounds there are at most.
        models: models trained at the same time.
        generations: at most.
        images: image passes of one model in one generation.
        first: models of the first generation.
        shown: images that pass through a model for each that it trains on: 2 where they come in pairs.
    """

    name: str
    rounds: int
    models: int
    generations: int
    images: int
    first: int
    shown: int = 1

    @property
    def passes(self) -> int:
        """Image passes at most."""
        return self.rounds * (self.first + self.models * (self.generations - 1)) * self.images * self.shown


@dataclass(frozen=True)
class Budget:
    """The most that a run can cost; convergence and other stop conditions only make it cheaper.

    Args:
        parts: its rounds.
        limit: image passes that the run was given; none for no limit.
        spent: whether it spends them all.
    """

    parts: Sequence[RoundBudget]
    limit: int | None = None
    spent: bool = False

    @property
    def passes(self) -> int:
        """Image passes at most."""
        configured = sum(part.passes for part in self.parts)
        return configured if self.limit is None else self.limit if self.spent else min(self.limit, configured)

    @property
    def models(self) -> int:
        """Models trained at the same time at most."""
        return max(part.first for part in self.parts)

    def disk(self, checkpoint: int) -> int:
        """Bytes of checkpoints at most: two generations, of which one may be the first, and the best member are kept.

        Args:
            checkpoint: bytes of one.
        """
        return sum(part.rounds * (part.first + 2 * part.models) * checkpoint for part in self.parts)


def budget(config: Config) -> Budget:
    """Return the budget of a config. Subsets are not known yet: leaf rounds count the least that they may train."""
    parts = [_part("first round", 1, first_population(config), config.objectives)]
    if config.method in RECURSIVE:
        rounds, final = config.rounds, config.final
        below = leaf_population(config, 0)
        taught = config.objectives if final.objective is None else (final.objective,)
        parts.append(_part("leaf rounds", rounds.leaf_runs * rounds.max_depth, below, config.objectives))
        parts.append(_part("final round", 1, final_population(config), taught))
    return Budget(parts, config.budget, config.spend_budget)


def _part(name: str, rounds: int, population: PopulationConfig, objectives: Sequence[ObjectiveConfig]) -> RoundBudget:
    return RoundBudget(
        name,
        rounds,
        population.size * population.replicas,
        population.max_generations,
        population.images_per_generation,
        population.first_size * population.replicas,
        rate_of_sections(objectives).shown,
    )
