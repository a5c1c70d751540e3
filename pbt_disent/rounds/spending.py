"""A budget of image passes: what a population costs, how many generations an allowance pays, how a rest is spent.

All sums are upper bounds that hold before anything is trained, so that no round begins what cannot be paid. They are
exact where all models train with one batch size that divides the images of a generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pbt_disent.config import Config, ObjectiveConfig, PopulationConfig
from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.population.engine import Kind
from pbt_disent.rounds.populations import RECURSIVE, final_population, first_population

__all__ = ["Rate", "check_budget", "rate_of_kinds", "rate_of_sections", "reserve"]


@dataclass(frozen=True)
class Rate:
    """What one model pays for a number of images.

    Args:
        batch: the largest batch that it may train with.
        searched: whether its batch size is searched, so that only a bound is known.
        shown: images that pass through it for each image that it trains on: 2 where each comes with a partner.
    """

    batch: int
    searched: bool
    shown: int = 1

    def passes(self, images: int) -> int:
        """Return the image passes of one model in a generation of so many images."""
        bound = images + self.batch - 1
        return self.shown * (bound if self.searched else bound // self.batch * self.batch)

    def cost(self, population: PopulationConfig, generations: int) -> int:
        """Return the image passes of a whole population in its first generations."""
        return _turns(population, generations) * self.passes(population.images_per_generation)

    def affordable(self, population: PopulationConfig, allowance: int) -> int:
        """Return how many generations an allowance pays."""
        each = population.size * population.replicas * self.passes(population.images_per_generation)
        return max(0, 1 + (allowance - self.cost(population, 1)) // each)

    def within(self, population: PopulationConfig, allowance: int | None) -> PopulationConfig | None:
        """Return the population with no more generations than its allowance pays; none where it pays not even one."""
        if allowance is None:
            return population
        generations = min(population.max_generations, self.affordable(population, allowance))
        return population.model_copy(update={"max_generations": generations}) if generations else None

    def spending(self, population: PopulationConfig, allowance: int) -> PopulationConfig | None:
        """Return the population with the generations that spend its allowance, lengthened to take the remainder.

        It does not converge before; none where the allowance pays not even one generation.
        """
        generations = self.affordable(population, allowance)
        if not generations:
            return None
        each = allowance // _turns(population, generations) // self.shown
        images = each - (self.batch - 1) if self.searched else each // self.batch * self.batch
        return population.model_copy(
            update={
                "max_generations": generations,
                "images_per_generation": max(images, population.images_per_generation),
                "converged_generations": generations,
            }
        )


def rate_of_kinds(kinds: Sequence[Kind], names: Sequence[str], size: int) -> Rate:
    """Return the rate of a population.

    Args:
        kinds: its objectives.
        names: what each is called in the registry.
        size: number of images that it trains on.
    """
    rates = []
    for kind, name in zip(kinds, names, strict=True):
        searched = "batch_size" in kind.space
        largest = kind.space["batch_size"].high if searched else kind.fixed["batch_size"]
        rates.append(_rate(name, largest, searched, size))
    return _dearest(rates)


def rate_of_sections(sections: Sequence[ObjectiveConfig], size: int | None = None) -> Rate:
    """Return the rate of objectives as the config gives them; `size` is the number of images, where it is known."""
    rates = []
    for section in sections:
        high = OBJECTIVES[section.name].hyperparameters["batch_size"].high
        given = section.values.get("batch_size", {})
        if isinstance(given, dict):
            rates.append(_rate(section.name, max(given.get("choices", [given.get("high", high)])), True, size))
        else:
            rates.append(_rate(section.name, float(given), False, size))
    return _dearest(rates)


def reserve(config: Config, size: int | None = None) -> int:
    """Return what a recursive method keeps for its final round before it spends anything; 0 for other methods."""
    if config.method not in RECURSIVE:
        return 0
    sections = config.objectives if config.final.objective is None else (config.final.objective,)
    return rate_of_sections(sections, size).cost(final_population(config), config.final.generations)


def check_budget(config: Config, size: int) -> None:
    """Check that a budget pays one generation of the first round, beside what is kept for the final one.

    Args:
        config: of the run.
        size: number of images that it trains on.

    Raises:
        UserError: it does not.
    """
    if config.budget is None:
        return
    kept = reserve(config, size)
    least = rate_of_sections(config.objectives, size).cost(first_population(config), 1) + kept
    if config.budget < least:
        beside = f", beside {kept:,} for the final round" if kept else ""
        raise UserError(
            f"budget={config.budget}",
            f"must be at least {least:,} image passes: one generation of the first round{beside}",
            "raise it, or train fewer members, replicas or images",
        )


def _turns(population: PopulationConfig, generations: int) -> int:
    """Return how often a model trains for a generation, over all models."""
    return population.replicas * (population.first_size + population.size * (generations - 1))


def _rate(name: str, batch: float, searched: bool, size: int | None) -> Rate:
    largest = round(batch) if size is None else min(round(batch), size)
    return Rate(largest, searched, 2 if "partner" in OBJECTIVES[name].needs else 1)


def _dearest(rates: Sequence[Rate]) -> Rate:
    searched = len(set(rates)) > 1 or rates[0].searched
    return Rate(max(rate.batch for rate in rates), searched, max(rate.shown for rate in rates))
