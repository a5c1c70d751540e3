"""The first population of a run, on all images: ranked with or without labels, or following a schedule."""

from __future__ import annotations

import numpy as np

from pbt_disent.config import PopulationConfig
from pbt_disent.errors import UserError
from pbt_disent.population.engine import PopulationResult
from pbt_disent.population.executor import LabelLevel, ProbeLabels
from pbt_disent.population.fitness import FITNESS, Fitness
from pbt_disent.rounds.budget import first_population
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.types import IntArray

__all__ = ["first_round", "labelled_probe", "replay_round"]


def first_round(setup: RunSetup, population: PopulationConfig) -> PopulationResult:
    """Run one population on all images; in a recursion all leaf runs start from its best model (the X-run).

    Where members are ranked by labels, these act by selection alone: they never enter a loss.

    Raises:
        UserError: The run has too few labelled images to rank by.
    """
    fitness: Fitness = population.fitness
    labels: ProbeLabels = ()
    if fitness.uses_labels:
        probe, values = labelled_probe(setup, fitness)
        rows = setup.blobs.put_array(np.arange(len(probe)))
        labels = ((LabelLevel(rows, setup.blobs.put_array(values)),),)
    else:
        probe = setup.sample(setup.all_images, fitness.points, "0", "probe")
    return setup.run("0", population, fitness=fitness, subset=setup.images, probe=probe, labels=labels)


def labelled_probe(setup: RunSetup, fitness: Fitness) -> tuple[IntArray, IntArray]:
    """Return the indices (N,) of the images that a labelled fitness ranks by, and their labels (N, K).

    Raises:
        UserError: There are no labels, or too few labelled images.
    """
    if setup.ranking is None:
        option = f"population.fitness={fitness.name}"
        raise UserError(option, "needs labels to rank by", "name a table with --set data.options.labels=FILE")
    labels = np.asarray(setup.blobs.get_array(setup.ranking), dtype=np.int64)
    known = np.flatnonzero((labels >= 0).all(axis=1))
    probe = setup.sample(known, fitness.points, "0", "probe")
    if len(probe) < fitness.min_points:
        rule = f"must be at least {fitness.min_points} to rank by"
        raise UserError(f"{len(probe)} labelled images", rule, "raise supervision.share")
    return probe, labels[probe]


def replay_round(setup: RunSetup) -> PopulationResult:
    """Train the one member of a schedule to its end on all images; the result is where it ends.

    Its replicas are compared by the configured fitness, where there are enough of them; a single model is not ranked.
    """
    config = setup.config
    assert config.replay is not None, "a config whose method is replay has a schedule"
    population = first_population(config)
    fitness: Fitness = population.fitness
    if population.replicas < max(fitness.min_replicas, 2) or fitness.uses_labels:
        fitness = FITNESS["none"](points=fitness.points)
    label, objective = next(iter(setup.objectives.items()))
    return setup.run(
        "0",
        population,
        fitness=fitness,
        subset=setup.images,
        probe=setup.sample(setup.all_images, fitness.points, "0", "probe"),
        objectives={label: objective.with_defaults()},
        schedule=config.replay.schedule,
    )
