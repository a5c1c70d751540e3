"""What a run costs in image passes: the populations of its rounds, what an allowance pays, how the remainder is spent.

All sums are upper bounds that hold before anything is trained, so that no round begins what cannot be paid. They are
exact where all models train with one batch size that divides the images of a generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pbt_disent.config import RECURSIVE, Config, PopulationConfig
from pbt_disent.errors import UserError
from pbt_disent.models.contract import ObjectiveOptions
from pbt_disent.population.exploit.none import NoExploit

__all__ = [
    "CONTROLS",
    "PassCost",
    "RoundCost",
    "RunCost",
    "check_budget",
    "final_population",
    "first_population",
    "leaf_population",
    "pass_cost",
    "reserve",
    "run_cost",
]

CONTROLS = ("random-search", "fixed")
"""The methods without selection."""


def first_population(config: Config) -> PopulationConfig:
    """Return the population on all images. Controls are the same without selection; `pbt-vae` has single models.

    A replay has one member, which goes to the end of its schedule.
    """
    population = config.population
    if config.method in CONTROLS:
        return population.model_copy(update={"exploit": NoExploit(), "oversize": 1})
    if config.method == "pbt-vae":
        return population.model_copy(update={"replicas": 1})
    if config.replay is not None:
        steps = len(config.replay.schedule)
        endless = {"max_generations": steps, "converged_generations": steps + 1, "give_up_below": -1.0}
        return population.model_copy(update={"size": 1, "oversize": 1, "mode": "synchronous", **endless})
    return population


def leaf_population(config: Config, num_images: int) -> PopulationConfig:
    """Return the population on a subset of so many images, with 10,000 image passes a generation by default."""
    rounds = config.rounds
    return config.population.model_copy(
        update={
            "image_passes_per_generation": rounds.leaf_image_passes_per_generation or max(10_000, num_images),
            "max_generations": rounds.leaf_max_generations or config.population.max_generations,
            "oversize": 1,
        }
    )


def final_population(config: Config) -> PopulationConfig:
    """Return the final population of a recursive method, one model per member."""
    final = config.final
    return config.population.model_copy(
        update={
            "size": final.size,
            "oversize": final.oversize,
            "replicas": 1,
            "max_generations": final.generations,
            "image_passes_per_generation": final.image_passes_per_generation,
        }
    )


@dataclass(frozen=True)
class PassCost:
    """What one model pays for a number of images.

    Args:
        batch: The largest batch size that it may train with.
        is_bound: Whether its batch size is searched, so that only a bound is known.
        per_image: The number of images that pass through it for each training image: 2 where each has a partner.
    """

    batch: int
    is_bound: bool
    per_image: int = 1

    def passes(self, num_images: int) -> int:
        """Return the image passes of one model in a generation of so many images."""
        bound = num_images + self.batch - 1
        return self.per_image * (bound if self.is_bound else bound // self.batch * self.batch)

    def cost(self, population: PopulationConfig, generations: int) -> int:
        """Return the image passes of a whole population in its first generations."""
        return _model_generations(population, generations) * self.passes(population.image_passes_per_generation)

    def affordable_generations(self, population: PopulationConfig, allowance: int) -> int:
        """Return the number of generations that an allowance pays."""
        generation = population.size * population.replicas * self.passes(population.image_passes_per_generation)
        return max(0, 1 + (allowance - self.cost(population, 1)) // generation)

    def limit(self, population: PopulationConfig, allowance: int | None) -> PopulationConfig | None:
        """Return the population with no more generations than its allowance pays, or None where it pays not one."""
        if allowance is None:
            return population
        generations = min(population.max_generations, self.affordable_generations(population, allowance))
        return population.model_copy(update={"max_generations": generations}) if generations else None

    def stretch(self, population: PopulationConfig, allowance: int) -> PopulationConfig | None:
        """Return the population with the generations that spend its allowance, lengthened to take the remainder.

        It does not converge before; None where the allowance pays not even one generation.
        """
        generations = self.affordable_generations(population, allowance)
        if not generations:
            return None
        per_model = allowance // _model_generations(population, generations) // self.per_image
        num_images = per_model - (self.batch - 1) if self.is_bound else per_model // self.batch * self.batch
        return population.model_copy(
            update={
                "max_generations": generations,
                "image_passes_per_generation": max(num_images, population.image_passes_per_generation),
                "converged_generations": generations,
            }
        )


def _model_generations(population: PopulationConfig, generations: int) -> int:
    """Return how often a model trains for a generation, over all models."""
    return population.replicas * (population.first_size + population.size * (generations - 1))


def pass_cost(objectives: Sequence[ObjectiveOptions], num_images: int | None = None) -> PassCost:
    """Return the cost of the dearest of several objectives.

    Args:
        objectives: The options of the objectives.
        num_images: The number of training images, or None before the data are opened.
    """
    costs = []
    for options in objectives:
        largest = round(options.batch_size.high)
        batch = largest if num_images is None else min(largest, num_images)
        costs.append(PassCost(batch, not options.batch_size.is_fixed, 2 if "partner" in options.needs else 1))
    is_bound = len(set(costs)) > 1 or costs[0].is_bound
    return PassCost(max(cost.batch for cost in costs), is_bound, max(cost.per_image for cost in costs))


def reserve(config: Config, num_images: int | None = None) -> int:
    """Return what a recursive method keeps for its final round before it spends anything; 0 for other methods."""
    if config.method not in RECURSIVE:
        return 0
    cost = pass_cost(_final_objectives(config), num_images)
    return cost.cost(final_population(config), config.final.generations)


def _final_objectives(config: Config) -> Sequence[ObjectiveOptions]:
    return config.objectives if config.final.objective is None else (config.final.objective,)


def check_budget(config: Config, num_images: int) -> None:
    """Check that a budget pays one generation of the first round, beside what is kept for the final one.

    Args:
        config: The config of the run.
        num_images: The number of images that it trains on.

    Raises:
        UserError: The budget is too small.
    """
    if config.budget is None:
        return
    final_cost = reserve(config, num_images)
    minimum = pass_cost(config.objectives, num_images).cost(first_population(config), 1) + final_cost
    if config.budget < minimum:
        beside = f", beside {final_cost:,} for the final round" if final_cost else ""
        raise UserError(
            f"budget={config.budget}",
            f"must be at least {minimum:,} image passes: one generation of the first round{beside}",
            "raise it, or train fewer members, replicas or images",
        )


@dataclass(frozen=True)
class RoundCost:
    """The most that one kind of round can cost.

    Args:
        name: The name of the kind of round in the plan.
        rounds: The number of such rounds, at most.
        models: The number of models that train at the same time.
        generations: The number of generations, at most.
        num_images: The number of images that one model trains on in one generation.
        first: The number of models of the first generation.
        per_image: The number of images that pass through a model for each training image: 2 where they come in pairs.
    """

    name: str
    rounds: int
    models: int
    generations: int
    num_images: int
    first: int
    per_image: int = 1

    @property
    def image_passes(self) -> int:
        """The number of image passes, at most."""
        model_generations = self.first + self.models * (self.generations - 1)
        return self.rounds * model_generations * self.num_images * self.per_image


@dataclass(frozen=True)
class RunCost:
    """The most that a run can cost; convergence and other stop conditions only make it cheaper.

    Args:
        rounds: The costs of its rounds.
        limit: The budget of the run in image passes, or None for no limit.
        spends_limit: Whether it spends the whole budget.
    """

    rounds: Sequence[RoundCost]
    limit: int | None = None
    spends_limit: bool = False

    @property
    def image_passes(self) -> int:
        """The number of image passes, at most."""
        configured = sum(part.image_passes for part in self.rounds)
        return configured if self.limit is None else self.limit if self.spends_limit else min(self.limit, configured)

    @property
    def models(self) -> int:
        """The number of models that train at the same time, at most."""
        return max(part.first for part in self.rounds)

    def disk_bytes(self, checkpoint_bytes: int) -> int:
        """Return the bytes of checkpoints, at most: two generations, perhaps the first, and the best member.

        Args:
            checkpoint_bytes: The size of one checkpoint.
        """
        return sum(part.rounds * (part.first + 2 * part.models) * checkpoint_bytes for part in self.rounds)


def run_cost(config: Config) -> RunCost:
    """Return the cost of a run. Subsets do not exist yet, and leaf rounds count as small as they can be.

    >>> from pbt_disent.config import load_config
    >>> run_cost(load_config("demo")).image_passes
    852000
    """
    parts = [_round_cost("first round", 1, first_population(config), config.objectives)]
    if config.method in RECURSIVE:
        rounds = config.rounds
        leaf = leaf_population(config, 0)
        parts.append(_round_cost("leaf rounds", rounds.leaf_runs * rounds.max_depth, leaf, config.objectives))
        parts.append(_round_cost("final round", 1, final_population(config), _final_objectives(config)))
    return RunCost(parts, config.budget, config.spend_budget)


def _round_cost(
    name: str, rounds: int, population: PopulationConfig, objectives: Sequence[ObjectiveOptions]
) -> RoundCost:
    return RoundCost(
        name,
        rounds,
        population.size * population.replicas,
        population.max_generations,
        population.image_passes_per_generation,
        population.first_size * population.replicas,
        pass_cost(objectives).per_image,
    )
