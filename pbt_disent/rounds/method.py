"""The methods from start to end, as straight code: what is on record is replayed, what is not is run.

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

from pbt_disent.config import RECURSIVE
from pbt_disent.population.engine import Best, PopulationResult
from pbt_disent.population.executor import Stopped
from pbt_disent.rounds.budget import check_budget, first_population, reserve
from pbt_disent.rounds.final import final_round
from pbt_disent.rounds.first import first_round, replay_round
from pbt_disent.rounds.labels import write_labels
from pbt_disent.rounds.recursion import Leaf, leaf_run
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.rounds.tree import TREE, Tree, factors_of
from pbt_disent.training.tasks import EncodeTask

__all__ = ["RunResult", "run_in_parallel", "run_method", "with_intact_models"]

T = TypeVar("T")

CONTINUED_ALONE = "continued_alone"
"""The event that says that the X-run goes on alone."""


@dataclass(frozen=True)
class RunResult:
    """What came out of a run.

    Args:
        first: The first population, which is the X-run of a recursion.
        leaves: The leaf runs; empty for methods that do not recurse, and where nothing was learned.
        last: The round whose best model is the result.
        image_passes: The image passes paid in all rounds.
    """

    first: PopulationResult
    leaves: tuple[Leaf, ...]
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
        only = replay_round(setup)
        return RunResult(only, (), only, only.image_passes)
    recursive = config.method in RECURSIVE
    budget = config.budget
    kept = reserve(config, setup.num_images)
    first = _first_round(setup, None if budget is None else budget - kept, last=not recursive)
    if not recursive:
        return RunResult(first, (), first, first.image_passes)
    if _continued_alone(setup):
        return _without_labels(setup, first, ())
    best = first.best if first.reason != "nothing_learned" else None
    leaf_runs = config.rounds.leaf_runs
    share = None if budget is None else (budget - first.image_passes - kept) // max(leaf_runs, 1)
    runs: list[Leaf] = []
    if best is not None:
        chains = [partial(leaf_run, setup, number, best, share) for number in range(1, leaf_runs + 1)]
        runs = run_in_parallel(chains, config.resources.rounds_at_once, setup.executor.stop)
    leaves = tuple(leaf for leaf in runs if leaf.levels)
    if best is not None:
        _write(setup, leaves, None, labels)
    if not leaves:
        return _without_labels(setup, first, tuple(runs))
    left = None if budget is None else budget - first.image_passes - sum(leaf.image_passes for leaf in runs)
    last = final_round(setup, leaves, left)
    setup.record("final", "final", model=last.best.checkpoint if last.best else None)
    _write(setup, leaves, last.best, labels)
    return RunResult(first, tuple(runs), last, _image_passes(setup))


def _first_round(setup: RunSetup, allowance: int | None, *, last: bool) -> PopulationResult:
    population = setup.afford(first_population(setup.config), allowance, setup.num_images, last=last)
    if population is None:
        check_budget(setup.config, setup.num_images)
        raise AssertionError("a budget that passes its check pays one generation")
    return first_round(setup, population)


def _without_labels(setup: RunSetup, first: PopulationResult, runs: tuple[Leaf, ...]) -> RunResult:
    """Return the X-run as the result, and let it spend what the other rounds would have, where the config says so.

    That is put on record first: the model that began the leaf runs may be gone once the X-run has gone on.
    """
    if setup.config.spend_budget and setup.config.budget is not None:
        if not _continued_alone(setup):
            setup.record(CONTINUED_ALONE, "0", reason="the leaf runs have nothing to begin with")
        population = first_population(setup.config)
        longer = setup.pass_cost(setup.num_images).affordable(population, setup.config.budget)
        without_end = {"max_generations": longer, "converged_generations": longer}
        first = first_round(setup, population.model_copy(update=without_end))
    return RunResult(first, runs, first, _image_passes(setup))


def with_intact_models(result: RunResult, intact: Callable[[str], str], all_replicas: bool) -> RunResult:
    """Return a result whose checkpoints can be read: the same digests, or those of what was made in their place.

    Args:
        result: The result of a run.
        intact: `pbt_disent.population.recovery.RecoveringExecutor.intact`.
        all_replicas: Whether those of the first round's best member are needed as well.
    """

    def recovered(population: PopulationResult, with_replicas: bool) -> PopulationResult:
        best = population.best
        if best is None:
            return population
        replicas = tuple(intact(digest) for digest in best.replicas) if with_replicas else best.replicas
        return replace(population, best=replace(best, checkpoint=intact(best.checkpoint), replicas=replicas))

    alone = result.last is result.first
    last = recovered(result.last, alone and all_replicas)
    first = last if alone else recovered(result.first, True) if all_replicas else result.first
    return replace(result, first=first, last=last)


def _continued_alone(setup: RunSetup) -> bool:
    return any(row["event"] == CONTINUED_ALONE for row in setup.log.rows())


def _write(setup: RunSetup, leaves: Sequence[Leaf], final: Best | None, labels: Path) -> None:
    """Write the label table, and beside it the tree that gave the labels; the final model helps to join them."""
    codes = None
    if final is not None:
        subset = None if setup.images is None else setup.blobs.put_array(setup.images.astype(np.int64))
        encoded = setup.executor.encode(EncodeTask(final.checkpoint, subset))
        codes = np.asarray(setup.blobs.get_array(encoded.codes), dtype=np.float64)
        setup.blobs.collect([], [digest for digest in (encoded.codes, encoded.log_sigma) if digest])
    tree = Tree(tuple(leaves), factors_of(leaves, codes, setup.all_images))
    write_labels(leaves, tree.factor_of, labels)
    tree.write(labels.with_name(TREE))


def _image_passes(setup: RunSetup) -> int:
    """Sum the image passes of the rounds on the log, the last record of each path counting."""
    paid = {row["path"]: int(row["image_passes"]) for row in setup.log.rows() if row["event"] == "finished"}
    return sum(paid.values())


def run_in_parallel(work: Sequence[Callable[[], T]], threads: int, stop: Callable[[], None]) -> list[T]:
    """Call functions in threads and return their results, in order.

    Args:
        work: The functions.
        threads: The number of threads; with one, this thread calls one after the other.
        stop: Called when a function fails, so that the others end soon with `Stopped`.

    Raises:
        Exception: What the first function raised that failed by itself.
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
