"""What a study is, and how its cells are run in a few processes, with each result logged as soon as it is there.

A cell is an arm and a seed. A study that was interrupted goes on with the cells that are missing; a cell whose
description has changed since is run again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from pbt_disent.registry import Registry
from pbt_disent.store.lease import Lease
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.types import Json

__all__ = ["STUDIES", "Cell", "Results", "Study", "finished", "run_cells"]


@dataclass(frozen=True)
class Cell:
    """One run of an arm.

    Args:
        arm: The name of the arm.
        seed: The seed of the run.
        description: All that the result depends on beside the seed.
    """

    arm: str
    seed: int
    description: Json = field(hash=False)

    @property
    def digest(self) -> str:
        """The digest of the description; results with another one do not count."""
        return hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).hexdigest()[:16]


Results = Mapping[Cell, Json]
"""The results of the finished cells."""


@dataclass(frozen=True)
class Study:
    """One study.

    Args:
        arms: The names of its arms, in order.
        seeds: The seeds of every arm.
        cells: A function that returns the cells of some arms and seeds, in the order in which they start.
        run: A function that makes the result of one cell. It travels to other processes, so it belongs to a module.
        table: A function that returns the results as Markdown.
        figure: A function that draws the results; None where the table says all.
        summary: A function that returns a shorter table for the documentation; None where the table is short enough.
    """

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: Callable[[Sequence[str], Sequence[int]], list[Cell]]
    run: Callable[[Cell], Json]
    table: Callable[[Results], str]
    figure: Callable[[Results], Figure] | None = None
    summary: Callable[[Results], str] | None = None


STUDIES: Registry[Callable[[], Study]] = Registry("study", "studies")


def finished(cells: Iterable[Cell], log: Path) -> dict[Cell, Json]:
    """Return the results in the log, by cell and in the order of the cells."""
    rows = AppendOnlyLog(log).rows() if log.exists() else []
    results = {(row["arm"], row["seed"], row["digest"]): row["result"] for row in rows}
    keys = {(cell.arm, cell.seed, cell.digest): cell for cell in cells}
    return {cell: results[key] for key, cell in keys.items() if key in results}


def run_cells(
    run: Callable[[Cell], Json],
    cells: Sequence[Cell],
    log: Path,
    *,
    workers: int,
    on_done: Callable[[Cell, Json], None] = lambda cell, result: None,
) -> dict[Cell, Json]:
    """Run the cells that have no result yet, and return all results by cell.

    Args:
        run: A function that makes the result of one cell; see `Study`.
        cells: The cells in the order in which they start.
        log: The path of the log of results, which is created with the first one.
        workers: The number of cells that run at a time, each in a process of its own.
        on_done: A function that is called after each new result.

    Raises:
        UserError: Another process is running this study.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    lease = Lease(log.with_suffix(".lock"))
    with contextlib.ExitStack() as stack:
        stack.callback(lease.release)
        results = AppendOnlyLog(log)
        done = finished(cells, log)
        remaining = [cell for cell in cells if cell not in done]
        if not remaining:
            return done
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(workers, len(remaining)), context, initializer=_use_one_thread)
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        running: dict[Future[Json], Cell] = {pool.submit(run, cell): cell for cell in remaining}
        failures: list[BaseException] = []
        while running:
            completed, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in completed:
                cell = running.pop(future)
                failure = None if future.cancelled() else future.exception()
                if failure is not None:
                    failures.append(failure)
                    for pending in running:
                        pending.cancel()  # those that run already go on, and their results count
                elif not future.cancelled():
                    result = future.result()
                    results.append([{"arm": cell.arm, "seed": cell.seed, "digest": cell.digest, "result": result}])
                    on_done(cell, result)
        if failures:
            raise failures[0]
    return finished(cells, log)


def _use_one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
