"""What a run will cost, from its config alone: models, image passes, memory and disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pbt_disent.config import Config
from pbt_disent.rounds.method import RECURSIVE
from pbt_disent.rounds.recursion import CONTROLS

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
        first: models of the first generation, where it has more.
    """

    name: str
    rounds: int
    models: int
    generations: int
    images: int
    first: int = 0

    @property
    def passes(self) -> int:
        """Image passes at most."""
        first = max(self.first, self.models)
        return self.rounds * (first + self.models * (self.generations - 1)) * self.images


@dataclass(frozen=True)
class Budget:
    """The most that a run can cost; convergence and other stop conditions only make it cheaper."""

    parts: Sequence[RoundBudget]

    @property
    def passes(self) -> int:
        """Image passes at most."""
        return sum(part.passes for part in self.parts)

    @property
    def models(self) -> int:
        """Models trained at the same time at most."""
        return max(max(part.models, part.first) for part in self.parts)

    def disk(self, checkpoint: int) -> int:
        """Bytes of checkpoints at most: two generations and the best member of each round are kept.

        Args:
            checkpoint: bytes of one.
        """
        return sum(part.rounds * 3 * part.models * checkpoint for part in self.parts)


def budget(config: Config) -> Budget:
    """Return the budget of a config. Subsets are not known yet: leaf rounds count the least that they may train."""
    population, rounds, final = config.population, config.rounds, config.final
    replicas = 1 if config.method == "pbt-vae" else population.replicas
    models, first = population.size * replicas, population.first_size * replicas
    if config.method in CONTROLS:
        first = models
    parts = [RoundBudget("first round", 1, models, population.max_generations, population.images_per_generation, first)]
    if config.method in RECURSIVE:
        parts.append(
            RoundBudget(
                "leaf rounds",
                rounds.leaf_runs * rounds.max_depth,
                models,
                rounds.leaf_max_generations or population.max_generations,
                rounds.leaf_images_per_generation or 10_000,
            )
        )
        larger = final.size * final.oversize
        parts.append(RoundBudget("final round", 1, final.size, final.generations, final.images_per_generation, larger))
    return Budget(parts)
