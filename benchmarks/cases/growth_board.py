"""How the work of the scheduler, the board and the pool grows with the members of a population; nothing trains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from benchmarks.case import CASES, Case, Disagreement, Grower, Growth, Measure, Setting

__all__ = ["prepare"]

SLOTS, WORKERS, GENERATIONS = 8, 2, 3


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
        return "every task is done once and every slot reports each generation"

    def measures(medians: Mapping[int, float]) -> Sequence[Measure]:
        return [Measure(f"of a generation of {size:,} members", 1000 * medians[size], "ms") for size in sizes[-2:]]

    return Growth("members", sizes, 1, Grower("board, pool, scheduler", ours), agree, 1, measures=measures)


async def _play(members: int) -> Sequence[float]:
    """Play some generations, and return what each took."""
    from pbt_disent.training.tasks import TaskKey, TrainTask
    from pbt_disent.tune.board import Board
    from pbt_disent.tune.executor import share_out
    from pbt_disent.tune.messages import Job, Part, Result
    from pbt_disent.tune.pool import Pool
    from pbt_disent.tune.scheduler import Barrier, GenerationScheduler

    class Instant:
        async def start(self) -> None: ...

        async def run(self, job: Job) -> Result:
            return Result(job.key, True, b"")

        def kill(self) -> None: ...

    board: Any = Board(SLOTS)  # Ray has put its own type over the methods
    pool, barrier = Pool(Instant), Barrier()
    scheduler = GenerationScheduler(barrier)
    await board.ready()
    await pool.allow(WORKERS, WORKERS)
    for slot in range(SLOTS):
        await board.enter(slot)

    async def play(slot: int, finished: tuple[tuple[int, int], ...]) -> tuple[int, int]:
        part = await board.next(slot, 1, finished, (), 60.0)
        if not isinstance(part, Part):
            raise Disagreement(f"slot {slot} has nothing to play")
        await pool.run(part.tick, part.jobs)
        trial: Any = SimpleNamespace(config={"slot": slot})
        scheduler.on_trial_result(None, trial, {"tick": part.tick, "part": part.part})
        return part.place

    seconds: list[float] = []
    finished: list[tuple[tuple[int, int], ...]] = [()] * SLOTS
    for tick in range(GENERATIONS):
        values = {"lr": 1e-3, "beta": 4.0, "batch_size": 64.0}
        tasks = [
            TrainTask(TaskKey("0", tick, member, (0,)), 0, ("0" * 64,), values, 1000, None, "0" * 64)
            for member in range(members)
        ]
        begun = time.perf_counter()
        parts = share_out(tick, tasks, SLOTS)
        barrier.open(tick, len(parts))
        await board.post(parts)
        played = [asyncio.create_task(play(slot, finished[slot])) for slot in range(SLOTS)]
        seen = 0
        while seen < members:
            seen += len((await pool.collect(tick, seen, members, 60.0)).results)
        finished = [(await one,) for one in played]
        missing = barrier.wait(tick, 0.0)
        await pool.close(tick)
        seconds.append(time.perf_counter() - begun)
        if missing or (await pool.statistics()).jobs != members * (tick + 1):
            raise Disagreement("a task was not done once, or a slot has not reported")
    return seconds


CASES.register("grow-board")(
    Case("a generation in the scheduler, the board and the pool: against linear growth in members", prepare)
)
