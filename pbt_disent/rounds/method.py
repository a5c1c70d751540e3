"""The methods from start to end, as straight code: what is on record is replayed, what is not is run.

A run is resumed by calling this again. Every step is a function of the steps before it, and every generation that was
committed is read instead of trained, so a second call passes through the same rounds and goes on where the first ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pbt_disent.population.engine import PopulationResult
from pbt_disent.rounds.final import final_round
from pbt_disent.rounds.labelled import labelled_round
from pbt_disent.rounds.labels import write_labels
from pbt_disent.rounds.recursion import Leaf, first_round, leaf_run
from pbt_disent.rounds.setup import RunSetup

RECURSIVE = ("rpu-vae", "rpu-vae-plus")

__all__ = ["RECURSIVE", "Result", "run_method"]


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
    first = labelled_round(setup) if setup.config.method == "pbt-vae" else first_round(setup)
    learned = first.best is not None and first.reason != "nothing_learned"
    if setup.config.method not in RECURSIVE or not learned or first.best is None:
        return Result(first, (), first, first.images)
    best = first.best
    runs = [leaf_run(setup, number, best) for number in range(1, setup.config.rounds.leaf_runs + 1)]
    leaves = tuple(leaf for leaf in runs if leaf.levels)
    write_labels(leaves, labels)
    if not leaves:
        return Result(first, tuple(runs), first, _paid(setup))
    last = final_round(setup, leaves)
    setup.record("final", "final", model=last.best.checkpoint if last.best else None)
    return Result(first, tuple(runs), last, _paid(setup))


def _paid(setup: RunSetup) -> int:
    """Sum the image passes of the rounds on the log, the last record of each path counting."""
    paid = {row["path"]: int(row["images"]) for row in setup.log.rows() if row["event"] == "finished"}
    return sum(paid.values())
