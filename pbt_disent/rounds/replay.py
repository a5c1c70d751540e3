"""Replay: one member that follows a schedule of hyperparameters, such as the winner's of an earlier run."""

from __future__ import annotations

from pbt_disent.population.engine import Kind, PopulationResult
from pbt_disent.rounds.populations import first_population
from pbt_disent.rounds.setup import RunSetup

__all__ = ["replay_round"]


def replay_round(setup: RunSetup) -> PopulationResult:
    """Train the schedule's one member to its end on all images; its result is where it ends, not where it scored best.

    Its replicas are compared by UDR, where there are two or more; a single model is not ranked.
    """
    config, images = setup.config, setup.all_images
    assert config.replay is not None, "a config whose method is replay has a schedule"
    population = first_population(config)
    ranked = population.replicas > 1
    return setup.run(
        "0",
        population,
        subset=setup.images,
        probe=setup.sample(images, config.udr.points, "0", "probe"),
        fitness="udr" if ranked else "none",
        options=config.udr.model_dump(exclude={"points"}) if ranked else {},
        schedule=(Kind(setup.kinds[0].name, {}, {}), config.replay.schedule),
    )
