"""How the work of the scheduler, the board and the pool grows with the members of a population; nothing trains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from benchmarks.case import CASES, Case, Disagreement, Grower, Growth, Measure, Setting

__all__ = ["prepare"]

TRIALS, WORKERS, GENERATIONS = 8, 2, 3


def prepare(setting: Setting) -> Growth:
    """A generation from its tasks to its last report: shared out, posted, handed in, done, collected, reported.

    Board, pool and scheduler are those of a run, called in this process, without Ray's part: the trials are numbers,
    and a worker says at once that a task is done.
    """
    sizes = setting.pick((100, 1000, 10_000), (100, 1000, 10_000), (20, 40))

    def ours(members: int) -> float:
        return min(asyncio.run(_play(members)))

    def agree() -> str:
        asyncio.run(_play(sizes[0]))
        return "every task is done once and every trial reports each generation"

    def measures(medians: Mapping[int, float]) -> Sequence[Measure]:
        return [Measure(f"of a generation of {size:,} members", 1000 * medians[size], "ms") for size in sizes[-2:]]

    return Growth("members", sizes, 1, Grower("board, pool, scheduler", ours), agree, 1, measures=measures)


async def _play(members: int) -> Sequence[float]:
    """Play some generations, and return what each took."""
    from pbt_disent.training.tasks import TaskKey, TrainTask
    from pbt_disent.tune.board import Board
    from pbt_disent.tune.executor import split_into_cohorts
    from pbt_disent.tune.messages import Cohort, CohortId, WorkItem, WorkResult
    from pbt_disent.tune.pool import WorkerPool
    from pbt_disent.tune.trials import Barrier, GenerationScheduler

    class Instant:
        async def start(self) -> None: ...

        async def run(self, item: WorkItem) -> WorkResult:
            return WorkResult(item.key, True, b"")

        def kill(self) -> None: ...

    board: Any = Board(TRIALS)  # Ray has put its own type over the methods
    pool, barrier = WorkerPool(Instant), Barrier()
    scheduler = GenerationScheduler(barrier)
    await board.bind()
    await pool.resize(WORKERS, WORKERS)
    for trial in range(TRIALS):
        await board.register(trial)

    async def play(trial: int, finished: tuple[CohortId, ...]) -> CohortId:
        cohort = await board.next(trial, 1, finished, (), 60.0)
        if not isinstance(cohort, Cohort):
            raise Disagreement(f"trial {trial} has nothing to play")
        await pool.run(cohort.generation, cohort.items)
        tune_trial: Any = SimpleNamespace(config={"trial": trial})
        scheduler.on_trial_result(None, tune_trial, {"generation": cohort.generation, "cohort": cohort.index})
        return cohort.id

    seconds: list[float] = []
    finished: list[tuple[CohortId, ...]] = [()] * TRIALS
    for tick in range(GENERATIONS):
        values = {"lr": 1e-3, "beta": 4.0, "batch_size": 64.0}
        tasks = [
            TrainTask(TaskKey("0", tick, member, (0,)), 0, ("0" * 64,), values, 1000, None, "0" * 64)
            for member in range(members)
        ]
        begun = time.perf_counter()
        cohorts = split_into_cohorts(tick, tasks, TRIALS)
        barrier.open(tick, len(cohorts))
        await board.post(cohorts)
        played = [asyncio.create_task(play(trial, finished[trial])) for trial in range(TRIALS)]
        seen = 0
        while seen < members:
            seen += len((await pool.collect(tick, seen, members, 60.0)).results)
        finished = [(await one,) for one in played]
        missing = barrier.wait(tick, 0.0)
        await pool.close(tick)
        seconds.append(time.perf_counter() - begun)
        if missing or (await pool.statistics()).completed != members * (tick + 1):
            raise Disagreement("a task was not done once, or a trial has not reported")
    return seconds


CASES.register("grow-board")(
    Case("a generation in the scheduler, the board and the pool: against linear growth in members", prepare)
)
