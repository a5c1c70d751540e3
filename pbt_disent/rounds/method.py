"""The methods from start to end, as straight code: what is on record is replayed, what is not is run.

A run is resumed by calling this again. Every step is a function of the steps before it, and every generation that was
committed is read instead of trained, so a second call passes through the same rounds and goes on where the first ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pbt_disent.population.engine import Best, PopulationResult
from pbt_disent.rounds.final import final_round
from pbt_disent.rounds.labelled import labelled_round
from pbt_disent.rounds.labels import write_labels
from pbt_disent.rounds.populations import RECURSIVE, first_population
from pbt_disent.rounds.recursion import Leaf, first_round, leaf_run
from pbt_disent.rounds.replay import replay_round
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.rounds.side_by_side import side_by_side
from pbt_disent.rounds.spending import check_budget, reserve
from pbt_disent.rounds.tree import TREE, Tree, factors_of
from pbt_disent.training.tasks import EncodeTask

__all__ = ["Result", "run_method", "with_sound_models"]

WENT_ON = "went_on"
"""The event that says that the X-run goes on alone."""


@dataclass(frozen=True)
class Result:
    """What came out of a run.

    Args:
        first: the X-run.
        leaves: the leaf runs; empty for methods that do not recurse, and where nothing was learned.
        last: the round whose best model is the result.
        images: image passes paid in all rounds.
    """

    first: PopulationResult
    leaves: tuple[Leaf, ...]
    last: PopulationResult
    images: int


def run_method(setup: RunSetup, labels: Path) -> Result:
    """Run `config.method` to its end.

    Args:
        setup: the run.
        labels: where the label table goes (parquet).

    Raises:
        Stopped: asked to stop; calling again goes on.
    """
    config = setup.config
    if config.method == "replay":
        only = replay_round(setup)
        return Result(only, (), only, only.images)
    recursive = config.method in RECURSIVE
    budget = config.budget
    kept = reserve(config, setup.size)
    first = _first_round(setup, None if budget is None else budget - kept, last=not recursive)
    if not recursive:
        return Result(first, (), first, first.images)
    if _went_on(setup):
        return _without_labels(setup, first, ())
    best = first.best if first.reason != "nothing_learned" else None
    leaf_runs = config.rounds.leaf_runs
    share = None if budget is None else (budget - first.images - kept) // max(leaf_runs, 1)
    runs: list[Leaf] = []
    if best is not None:
        chains = [partial(leaf_run, setup, number, best, share) for number in range(1, leaf_runs + 1)]
        runs = side_by_side(chains, config.resources.rounds_at_once, setup.executor.stop)
    leaves = tuple(leaf for leaf in runs if leaf.levels)
    if best is not None:
        _write(setup, leaves, None, labels)
    if not leaves:
        return _without_labels(setup, first, tuple(runs))
    left = None if budget is None else budget - first.images - sum(leaf.paid for leaf in runs)
    last = final_round(setup, leaves, left)
    setup.record("final", "final", model=last.best.checkpoint if last.best else None)
    _write(setup, leaves, last.best, labels)
    return Result(first, tuple(runs), last, _paid(setup))


def _first_round(setup: RunSetup, allowance: int | None, *, last: bool) -> PopulationResult:
    population = setup.afford(first_population(setup.config), allowance, setup.size, last=last)
    if population is None:
        check_budget(setup.config, setup.size)
        raise AssertionError("a budget that passes its check pays one generation")
    return labelled_round(setup, population) if setup.config.method == "pbt-vae" else first_round(setup, population)


def _without_labels(setup: RunSetup, first: PopulationResult, runs: tuple[Leaf, ...]) -> Result:
    """Return the X-run as the result, and let it spend what the other rounds would have, where the config says so.

    That is put on record first: the model that began the leaf runs may be gone once the X-run has gone on.
    """
    if setup.config.spend_budget and setup.config.budget is not None:
        if not _went_on(setup):
            setup.record(WENT_ON, "0", reason="the leaf runs have nothing to begin with")
        population = first_population(setup.config)
        longer = setup.rate(setup.size).affordable(population, setup.config.budget)
        without_end = {"max_generations": longer, "converged_generations": longer}
        first = first_round(setup, population.model_copy(update=without_end))
    return Result(first, runs, first, _paid(setup))


def with_sound_models(result: Result, sound: Callable[[str], str], all_replicas: bool) -> Result:
    """Return a result whose checkpoints can be read: the same digests, or those of what was made in their place.

    Args:
        result: of a run.
        sound: `pbt_disent.population.safekeeping.Safekeeping.sound`.
        all_replicas: whether those of the first round's best member are needed as well.
    """

    def mended(one: PopulationResult, replicas: bool) -> PopulationResult:
        if one.best is None:
            return one
        found = tuple(sound(digest) for digest in one.best.replicas) if replicas else one.best.replicas
        return replace(one, best=replace(one.best, checkpoint=sound(one.best.checkpoint), replicas=found))

    alone = result.last is result.first
    last = mended(result.last, alone and all_replicas)
    first = last if alone else mended(result.first, True) if all_replicas else result.first
    return replace(result, first=first, last=last)


def _went_on(setup: RunSetup) -> bool:
    return any(row["event"] == WENT_ON for row in setup.log.rows())


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


def _paid(setup: RunSetup) -> int:
    """Sum the image passes of the rounds on the log, the last record of each path counting."""
    paid = {row["path"]: int(row["images"]) for row in setup.log.rows() if row["event"] == "finished"}
    return sum(paid.values())
