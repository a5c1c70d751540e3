"""The pool: owns every task of the run and the workers that do them.

A task is asked for by key, twice if need be, and runs once. A worker that dies is replaced and its task put back:
tasks are pure, so the result is the same. The pool holds nothing that the manifests do not.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from pbt_disent.errors import PbtDisentError
from pbt_disent.tune.bell import Bell
from pbt_disent.tune.messages import Job, Progress, Result, Statistics
from pbt_disent.tune.watchdog import Watchdog

__all__ = ["ATTEMPTS", "START_ATTEMPTS", "Hands", "Pool", "WorkerLost"]

ATTEMPTS = 5
START_ATTEMPTS = 3
START_SECONDS = 180.0


class WorkerLost(Exception):
    """The infrastructure took a worker away: its process, its node or the way to it is gone."""


class Hands(Protocol):
    """A worker, as the pool sees it."""

    async def start(self) -> None:
        """Make it ready. Raises `WorkerLost`, or a `PbtDisentError` if no worker can work on this run."""
        ...

    async def run(self, job: Job) -> Result:
        """Do a job. Raises `WorkerLost`."""
        ...

    def kill(self) -> None:
        """End its process at once."""
        ...


class _Task:
    """A job, and what came of it: no result once `done` is set means that nobody wants it any more."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.attempts = 0
        self.result: Result | None = None
        self.done = asyncio.Event()


class Pool:
    """An async actor on one event loop: one coroutine per worker takes the longest waiting task, again and again.

    Args:
        hire: starts a worker.
        watchdog: says how long a job may take.
    """

    def __init__(self, hire: Callable[[], Hands], watchdog: Watchdog | None = None) -> None:
        self._hire = hire
        self._watchdog = watchdog or Watchdog()
        self._limit = self._floor = 0
        self._tick = -1
        self._tasks: dict[str, _Task] = {}
        self._results: list[Result] = []
        self._calls: set[_Task] = set()
        self._queue: asyncio.PriorityQueue[tuple[float, int, _Task]] = asyncio.PriorityQueue()
        self._arrivals = itertools.count()
        self._careers: dict[asyncio.Task[None], Hands] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._busy = self._hired = self._lost = self._jobs = self._failed_starts = 0
        self._busy_seconds = 0.0
        self._bell = Bell()
        self._ended: PbtDisentError | None = None

    async def allow(self, limit: int, floor: int) -> None:
        """Let the pool have `floor` workers at once, and up to `limit` when there is work for them.

        Called again with a lower limit, it gives up on workers that still wait for a place.
        """
        self._limit, self._floor = limit, min(floor, limit)
        for career in list(self._starting)[: max(0, len(self._careers) - limit)]:
            career.cancel()
        self._grow()

    async def open(self, tick: int) -> None:
        """Begin a tick: what was asked for in earlier ones is dropped, and late requests for it are refused."""
        for task in self._tasks.values():
            task.done.set()
        self._tick, self._tasks, self._results = tick, {}, []

    async def run(self, tick: int, jobs: Iterable[Job]) -> None:
        """Have jobs of the open tick done, and return when all have a result; do nothing for any other tick."""
        if tick != self._tick or self._ended is not None:
            return
        tasks = [self._tasks.get(job.key) or self._enter(job) for job in jobs]
        self._grow()
        await asyncio.gather(*(task.done.wait() for task in tasks))

    async def collect(self, tick: int, seen: int, patience: float) -> Progress:
        """Return the results of the open tick beyond the first `seen`, waiting for one at most `patience` seconds."""
        if tick == self._tick and len(self._results) <= seen and self._ended is None:
            await self._bell.wait(patience)
        results = tuple(self._results[seen:]) if tick == self._tick else ()
        return Progress(results, len(self._tasks), self._ended)

    async def call(self, job: Job) -> Result:
        """Have a single job done that belongs to no tick."""
        task = _Task(job)
        self._calls.add(task)
        if self._ended is None:
            self._enqueue(task)
            self._grow()
            await task.done.wait()
        self._calls.discard(task)
        return task.result or Result(job.key, False, pickle.dumps(self._ended))

    async def cancel(self) -> None:
        """Kill all workers and free everybody who waits."""
        self._end(PbtDisentError("the pool was told to end"))

    async def statistics(self) -> Statistics:
        """Return what the workers did so far."""
        return Statistics(self._hired, self._lost, len(self._careers), self._jobs, self._busy_seconds)

    def _enter(self, job: Job) -> _Task:
        task = self._tasks[job.key] = _Task(job)
        self._enqueue(task)
        return task

    def _enqueue(self, task: _Task) -> None:
        self._queue.put_nowait((-task.job.weight, next(self._arrivals), task))

    def _grow(self) -> None:
        demand = self._busy + self._queue.qsize()
        while self._ended is None and len(self._careers) < min(self._limit, max(self._floor, demand)):
            hands = self._hire()
            self._hired += 1
            career = asyncio.create_task(self._career(hands))
            self._careers[career] = hands
            self._starting.add(career)
            career.add_done_callback(self._retired)

    def _retired(self, career: asyncio.Task[None]) -> None:
        """Replace a worker whose career ended; in a healthy run none does before the pool's own end."""
        self._careers.pop(career).kill()
        self._starting.discard(career)
        if career.cancelled():
            return
        self._lost += 1
        if (error := career.exception()) is not None:
            self._end(error if isinstance(error, PbtDisentError) else PbtDisentError(f"the pool failed: {error!r}"))
        self._grow()

    async def _career(self, hands: Hands) -> None:
        """Start a worker and give it tasks for as long as it lives; failed starts matter while no worker works."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await hands.start()
        except (WorkerLost, TimeoutError) as error:
            self._failed_starts += 1
            if self._failed_starts >= START_ATTEMPTS and len(self._starting) == len(self._careers):
                reason = str(error) or f"not ready after {START_SECONDS:.0f} s"
                raise PbtDisentError(f"no worker starts ({self._failed_starts} tries): {reason}") from error
            return
        self._failed_starts = 0
        self._starting = {one for one in self._starting if self._careers[one] is not hands}
        while True:
            *_, task = await self._queue.get()
            if not task.done.is_set() and not await self._attempt(hands, task):
                return

    async def _attempt(self, hands: Hands, task: _Task) -> bool:
        """Have a worker do a task; say whether the worker is still of use."""
        allowance = self._watchdog.allowance(task.job)
        task.attempts += 1
        self._busy += 1
        begun = time.monotonic()
        try:
            async with asyncio.timeout(allowance):
                result = await hands.run(task.job)
        except (WorkerLost, TimeoutError) as error:
            reason = str(error) or f"stuck for more than {allowance:.0f} s"
            message = f"no worker brought {task.job.key} to an end in {task.attempts} attempts; the last one: {reason}"
            self._settle(task, Result(task.job.key, False, pickle.dumps(PbtDisentError(message)), again=True))
            return False
        finally:
            self._busy -= 1
            self._busy_seconds += time.monotonic() - begun
        self._jobs += 1
        self._watchdog.observe(task.job, time.monotonic() - begun)
        self._settle(task, result)
        return True

    def _settle(self, task: _Task, result: Result) -> None:
        """Accept a result, unless it is worth another attempt or nobody waits for it any more."""
        if task.done.is_set():
            return
        if result.again and task.attempts < ATTEMPTS:
            self._enqueue(task)
            return
        task.result = result
        task.done.set()
        if self._tasks.get(task.job.key) is task:
            self._results.append(result)
            self._bell.ring()

    def _end(self, reason: PbtDisentError) -> None:
        if self._ended is None:
            self._ended = reason
            for career, hands in self._careers.items():
                hands.kill()
                career.cancel()
            for task in (*self._tasks.values(), *self._calls):
                task.done.set()
            self._bell.ring()
