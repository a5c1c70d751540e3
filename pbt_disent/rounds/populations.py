"""The populations of a run's rounds, as its config gives them."""

from __future__ import annotations

from pbt_disent.config import Config, PopulationConfig

__all__ = ["CONTROLS", "RECURSIVE", "final_population", "first_population", "leaf_population"]

RECURSIVE = ("rpu-vae", "rpu-vae-plus")
CONTROLS = ("random-search", "fixed")


def first_population(config: Config) -> PopulationConfig:
    """Return the population on all images. Controls are the same without selection; `pbt-vae` has single models.

    A replay has one member, which goes to the end of its schedule.
    """
    population = config.population
    if config.method in CONTROLS:
        return population.model_copy(update={"cutoff": 0.0, "oversize": 1})
    if config.method == "pbt-vae":
        return population.model_copy(update={"replicas": 1})
    if config.replay is not None:
        steps = len(config.replay.schedule)
        to_the_end = {"max_generations": steps, "converged_generations": steps + 1, "give_up_below": -1.0}
        return population.model_copy(update={"size": 1, "oversize": 1, "mode": "synchronous", **to_the_end})
    return population


def leaf_population(config: Config, size: int) -> PopulationConfig:
    """Return the population on a subset of so many images (papers.md 4.3: at least 10,000 images a generation)."""
    rounds = config.rounds
    return config.population.model_copy(
        update={
            "images_per_generation": rounds.leaf_images_per_generation or max(10_000, size),
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
            "images_per_generation": final.images_per_generation,
        }
    )
