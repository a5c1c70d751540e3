"""The methods from start to end, and their first round: what is on record is replayed, what is not is run.

A run is resumed by calling this again. Every step is a function of the steps before it, and every generation that was
committed is read instead of trained, so a second call passes through the same rounds and goes on where the first ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from pbt_disent.config import RECURSIVE, PopulationConfig
from pbt_disent.errors import UserError
from pbt_disent.population.engine import Best, PopulationResult
from pbt_disent.population.executor import LabelLevel, ProbeLabels, Stopped
from pbt_disent.population.fitness import FITNESS, Fitness
from pbt_disent.rounds.budget import check_budget, first_population, reserve
from pbt_disent.rounds.final import final_round
from pbt_disent.rounds.joining import learned_factors
from pbt_disent.rounds.labels import TREE_NAME, RoundTree, write_labels
from pbt_disent.rounds.recursion import LeafRun, train_leaf_run
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.training.tasks import EncodeTask
from pbt_disent.types import IntArray

__all__ = [
    "RunResult",
    "first_round",
    "labelled_probe",
    "replay_round",
    "run_in_parallel",
    "run_method",
    "with_restored_models",
]

T = TypeVar("T")

CONTINUED_ALONE = "continued_alone"
"""The event that says that the X-run goes on alone."""


@dataclass(frozen=True)
class RunResult:
    """The rounds of a finished run.

    Args:
        first: The first population, which is the X-run of a recursion.
        leaf_runs: The leaf runs; empty for methods that do not recurse, and where nothing was learned.
        last: The round whose best model is the result.
        image_passes: The number of image passes paid in all rounds.
    """

    first: PopulationResult
    leaf_runs: tuple[LeafRun, ...]
    last: PopulationResult
    image_passes: int


def run_method(setup: RunSetup, labels: Path) -> RunResult:
    """Run `config.method` to its end.

    Args:
        setup: The run.
        labels: The path of the label table (parquet).

    Raises:
        Stopped: The run was asked to stop; calling again goes on.
    """
    config = setup.config
    if config.method == "replay":
        replay = replay_round(setup)
        return RunResult(replay, (), replay, replay.image_passes)
    recursive = config.method in RECURSIVE
    budget = config.budget
    final_cost = reserve(config, setup.num_images)
    first = _afford_first_round(setup, None if budget is None else budget - final_cost, last=not recursive)
    if not recursive:
        return RunResult(first, (), first, first.image_passes)
    if _continued_alone(setup):
        return _without_labels(setup, first, ())
    best = first.best if first.reason != "nothing_learned" else None
    num_leaf_runs = config.rounds.leaf_runs
    share = None if budget is None else (budget - first.image_passes - final_cost) // max(num_leaf_runs, 1)
    leaf_runs: list[LeafRun] = []
    if best is not None:
        work = [partial(train_leaf_run, setup, number, best, share) for number in range(1, num_leaf_runs + 1)]
        leaf_runs = run_in_parallel(work, config.resources.rounds_at_once, setup.executor.stop)
    labelled = tuple(leaf_run for leaf_run in leaf_runs if leaf_run.levels)
    if best is not None:
        _write_labels(setup, labelled, None, labels)
    if not labelled:
        return _without_labels(setup, first, tuple(leaf_runs))
    paid = first.image_passes + sum(leaf_run.image_passes for leaf_run in leaf_runs)
    last = final_round(setup, labelled, None if budget is None else budget - paid)
    setup.record("final", "final", model=last.best.checkpoint if last.best else None)
    _write_labels(setup, labelled, last.best, labels)
    return RunResult(first, tuple(leaf_runs), last, _image_passes(setup))


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
    labelled_images = np.flatnonzero((labels >= 0).all(axis=1))
    probe = setup.sample(labelled_images, fitness.points, "0", "probe")
    if len(probe) < fitness.min_points:
        rule = f"must be at least {fitness.min_points} to rank by"
        raise UserError(f"{len(probe)} labelled images", rule, "raise supervision.share")
    return probe, labels[probe]


def replay_round(setup: RunSetup) -> PopulationResult:
    """Train the single member of a schedule to its end on all images; the result is where it ends.

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


def _afford_first_round(setup: RunSetup, allowance: int | None, *, last: bool) -> PopulationResult:
    population = setup.afford(first_population(setup.config), allowance, setup.num_images, last=last)
    if population is None:
        check_budget(setup.config, setup.num_images)
        raise AssertionError("a budget that passes its check pays one generation")
    return first_round(setup, population)


def _without_labels(setup: RunSetup, first: PopulationResult, leaf_runs: tuple[LeafRun, ...]) -> RunResult:
    """Return the X-run as the result, and let it spend what the other rounds would have, where the config says so.

    That is put on record first: the model that began the leaf runs may be gone once the X-run has gone on.
    """
    if setup.config.spend_budget and setup.config.budget is not None:
        if not _continued_alone(setup):
            setup.record(CONTINUED_ALONE, "0", reason="the leaf runs have nothing to begin with")
        population = first_population(setup.config)
        generations = setup.pass_cost(setup.num_images).affordable_generations(population, setup.config.budget)
        longer = {"max_generations": generations, "converged_generations": generations}
        first = first_round(setup, population.model_copy(update=longer))
    return RunResult(first, leaf_runs, first, _image_passes(setup))


def with_restored_models(result: RunResult, restore: Callable[[str], str], all_replicas: bool) -> RunResult:
    """Return a result whose checkpoints can be read: the same digests, or those of what was made in their place.

    Args:
        result: The result of a run.
        restore: Returns the digest of a checkpoint that can be read, as `RecoveringExecutor.restore` does.
        all_replicas: Whether the replicas of the first round's best member are needed as well.
    """

    def recovered(population: PopulationResult, with_replicas: bool) -> PopulationResult:
        best = population.best
        if best is None:
            return population
        replicas = tuple(restore(digest) for digest in best.replicas) if with_replicas else best.replicas
        return replace(population, best=replace(best, checkpoint=restore(best.checkpoint), replicas=replicas))

    has_one_round = result.last is result.first
    last = recovered(result.last, has_one_round and all_replicas)
    first = last if has_one_round else recovered(result.first, True) if all_replicas else result.first
    return replace(result, first=first, last=last)


def _continued_alone(setup: RunSetup) -> bool:
    return any(row["event"] == CONTINUED_ALONE for row in setup.log.rows())


def _write_labels(setup: RunSetup, leaf_runs: Sequence[LeafRun], final: Best | None, path: Path) -> None:
    """Write the label table, and beside it the tree that gave the labels; the final model helps to join latents."""
    codes = None
    if final is not None:
        subset = None if setup.images is None else setup.blobs.put_array(setup.images.astype(np.int64))
        encoded = setup.executor.encode(EncodeTask(final.checkpoint, subset))
        codes = np.asarray(setup.blobs.get_array(encoded.codes), dtype=np.float64)
        setup.blobs.collect([], [digest for digest in (encoded.codes, encoded.log_sigma) if digest])
    tree = RoundTree(tuple(leaf_runs), learned_factors(leaf_runs, codes, setup.all_images))
    write_labels(leaf_runs, tree.factor_of, path)
    tree.write(path.with_name(TREE_NAME))


def _image_passes(setup: RunSetup) -> int:
    """Sum the image passes of the rounds on the log, the last record of each path counting."""
    paid = {row["path"]: int(row["image_passes"]) for row in setup.log.rows() if row["event"] == "finished"}
    return sum(paid.values())


def run_in_parallel(work: Sequence[Callable[[], T]], threads: int, stop: Callable[[], None]) -> list[T]:
    """Call functions in threads and return their results, in order.

    Args:
        work: The functions to call.
        threads: The number of threads; with one, this thread calls one after the other.
        stop: A function that is called when one of them fails, so that the others end soon with `Stopped`.

    Raises:
        Exception: The first error of a function that failed by itself.
    """
    if threads == 1 or len(work) < 2:
        return [function() for function in work]
    with ThreadPoolExecutor(threads, thread_name_prefix="rounds") as pool:
        futures: list[Future[T]] = [pool.submit(function) for function in work]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        if any(future.exception() for future in done):
            for future in futures:
                future.cancel()
            stop()
    errors = [error for future in futures if not future.cancelled() and (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
        raise error
    return [future.result() for future in futures]
