"""Run the cells of a study in a few processes, and keep each result on a log as soon as it is there.

A cell is an arm and a seed. A study that was interrupted goes on with the cells that are missing; a cell whose
description has changed since is run again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from pbt_disent.store.lease import Lease
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.types import Json

__all__ = ["Cell", "finished", "run_cells"]


@dataclass(frozen=True)
class Cell:
    """One run of an arm.

    Args:
        arm: name of the arm.
        seed: of the run.
        description: all that the result depends on beside the seed.
    """

    arm: str
    seed: int
    description: Json = field(hash=False)

    @property
    def digest(self) -> str:
        """Names the description: results of another one do not count."""
        return hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).hexdigest()[:16]


def finished(cells: Iterable[Cell], results: Path) -> dict[Cell, Json]:
    """Return the results that are on the log, by cell, in the order of the cells."""
    rows = AppendOnlyLog(results).rows() if results.exists() else []
    found = {(row["arm"], row["seed"], row["digest"]): row["result"] for row in rows}
    keys = {(cell.arm, cell.seed, cell.digest): cell for cell in cells}
    return {cell: found[key] for key, cell in keys.items() if key in found}


def run_cells(
    run: Callable[[Cell], Json],
    cells: Sequence[Cell],
    results: Path,
    *,
    workers: int,
    on_done: Callable[[Cell, Json], None] = lambda cell, result: None,
) -> dict[Cell, Json]:
    """Run the cells that have no result yet, and return all results by cell.

    Args:
        run: makes one result; a function of a module, since it travels to other processes.
        cells: in the order in which they start.
        results: the log, created at the first result.
        workers: how many cells run at a time, each in a process of its own.
        on_done: called after each new result.

    Raises:
        UserError: another process is running this study.
    """
    results.parent.mkdir(parents=True, exist_ok=True)
    lease = Lease(results.with_suffix(".lock"))
    with contextlib.ExitStack() as stack:
        stack.callback(lease.release)
        log = AppendOnlyLog(results)
        done = finished(cells, results)
        waiting = [cell for cell in cells if cell not in done]
        if not waiting:
            return done
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(workers, len(waiting)), context, initializer=_one_thread)
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        running: dict[Future[Json], Cell] = {pool.submit(run, cell): cell for cell in waiting}
        failures: list[BaseException] = []
        while running:
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                cell = running.pop(future)
                failure = None if future.cancelled() else future.exception()
                if failure is not None:
                    failures.append(failure)
                    for other in running:
                        other.cancel()  # those that run already go on, and their results count
                elif not future.cancelled():
                    result = future.result()
                    log.append([{"arm": cell.arm, "seed": cell.seed, "digest": cell.digest, "result": result}])
                    on_done(cell, result)
        if failures:
            raise failures[0]
    return finished(cells, results)


def _one_thread() -> None:
    """Leave each process one core."""
    os.environ["OMP_NUM_THREADS"] = "1"
