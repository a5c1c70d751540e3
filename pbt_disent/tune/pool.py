"""The pool: owns every task of the run and the workers that do them.

A task is asked for by key, twice if need be, and runs once. A worker that dies is replaced and its task put back:
tasks are pure, so the result is the same. Several ticks, the generations of as many populations, may be open at a time.
The pool holds nothing that the manifests do not.
"""

from __future__ import annotations

import asyncio
import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from pbt_disent.errors import PbtDisentError
from pbt_disent.tune.bell import Bell
from pbt_disent.tune.messages import Job, Progress, Result, Statistics
from pbt_disent.tune.queue import FairQueue
from pbt_disent.tune.retries import Cause, Tally
from pbt_disent.tune.watchdog import Watchdog

__all__ = ["START_ATTEMPTS", "Hands", "Pool", "WorkerLost"]

START_ATTEMPTS = 3
START_SECONDS = 180.0
LINGER_SECONDS = 0.2
"""Results are handed on together with those that follow within so long."""

CALLS = -1
"""The group of single jobs, which a whole population waits for."""


class WorkerLost(Exception):
    """The infrastructure took a worker away.

    Args:
        reason: for people.
        cause: whether it was the worker's node, its process alone, or the node's memory.
    """

    def __init__(self, reason: str, cause: Cause = "process") -> None:
        super().__init__(reason)
        self.cause: Cause = cause


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

    def __init__(self, job: Job, tick: int) -> None:
        self.job, self.tick = job, tick
        self.tally = Tally()
        self.result: Result | None = None
        self.done = asyncio.Event()


@dataclass
class _Tick:
    """The tasks of a generation of a population by key, and their results in the order in which they came."""

    tasks: dict[str, _Task] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    bell: Bell = field(default_factory=Bell)


class Pool:
    """An async actor on one event loop: one coroutine per worker takes the next task, again and again.

    Args:
        hire: starts a worker.
        watchdog: says how long a job may take.
    """

    def __init__(self, hire: Callable[[], Hands], watchdog: Watchdog | None = None) -> None:
        self._hire = hire
        self._watchdog = watchdog or Watchdog()
        self._limit = self._floor = 0
        self._ticks: dict[int, _Tick] = {}
        self._closed: set[int] = set()
        self._calls: set[_Task] = set()
        self._queue: FairQueue[_Task] = FairQueue(urgent=CALLS)
        self._careers: dict[asyncio.Task[None], Hands] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._busy = self._hired = self._lost = self._jobs = self._failed_starts = 0
        self._busy_seconds = 0.0
        self._causes: Counter[str] = Counter()
        self._ended: PbtDisentError | None = None

    async def allow(self, limit: int, floor: int) -> None:
        """Let the pool have `floor` workers at once, and up to `limit` when there is work for them.

        Called again with a lower limit, it gives up on workers that still wait for a place.
        """
        self._limit, self._floor = limit, min(floor, limit)
        for career in list(self._starting)[: max(0, len(self._careers) - limit)]:
            career.cancel()
        self._grow()

    async def run(self, tick: int, jobs: Iterable[Job]) -> None:
        """Have jobs of a tick done, and return when all have a result; do nothing for a tick that was closed."""
        if tick in self._closed or self._ended is not None:
            return
        known = self._open(tick)
        tasks = [known.tasks.get(job.key) or self._enter(job, tick) for job in jobs]
        self._grow()
        await asyncio.gather(*(task.done.wait() for task in tasks))

    async def collect(self, tick: int, seen: int, expected: int, patience: float) -> Progress:
        """Return the results of a tick beyond the first `seen`.

        Waits for one at most `patience` seconds, and then a little for more of the `expected` ones.
        """
        known, deadline = self._open(tick), time.monotonic() + patience
        while len(known.results) < expected and self._ended is None and tick not in self._closed:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            before = len(known.results)
            await known.bell.wait(left)
            if before == seen and len(known.results) > seen:
                deadline = min(deadline, time.monotonic() + LINGER_SECONDS)
        return Progress(tuple(known.results[seen:]), len(known.tasks), self._ended)

    async def close(self, tick: int) -> None:
        """Drop a tick: what was asked for in it is done no more, and late requests for it are refused."""
        self._closed.add(tick)
        if (known := self._ticks.pop(tick, None)) is None:
            return
        self._queue.drop(tick)
        for task in known.tasks.values():
            task.done.set()
        known.bell.ring()

    async def call(self, job: Job) -> Result:
        """Have a single job done that belongs to no tick."""
        task = _Task(job, CALLS)
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
        return Statistics(
            self._hired, self._lost, len(self._careers), self._jobs, self._busy_seconds, dict(self._causes)
        )

    def _open(self, tick: int) -> _Tick:
        return _Tick() if tick in self._closed else self._ticks.setdefault(tick, _Tick())

    def _enter(self, job: Job, tick: int) -> _Task:
        task = self._ticks[tick].tasks[job.key] = _Task(job, tick)
        self._enqueue(task)
        return task

    def _enqueue(self, task: _Task) -> None:
        self._queue.put(task.tick, task.job.weight, task)

    def _grow(self) -> None:
        demand = self._busy + len(self._queue)
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
        fit = True
        while fit:
            group, task = await self._queue.get()
            try:
                fit = task.done.is_set() or await self._attempt(hands, task)
            finally:
                self._queue.back(group)

    async def _attempt(self, hands: Hands, task: _Task) -> bool:
        """Have a worker do a task; say whether the worker is still of use."""
        allowance = self._watchdog.allowance(task.job)
        self._busy += 1
        begun = time.monotonic()
        try:
            async with asyncio.timeout(allowance):
                result = await hands.run(task.job)
        except (WorkerLost, TimeoutError) as error:
            cause: Cause = error.cause if isinstance(error, WorkerLost) else "stuck"
            reason = str(error) or f"stuck for more than {allowance:.0f} s"
            self._settle(task, Result(task.job.key, False, pickle.dumps(PbtDisentError(reason)), cause))
            return False
        finally:
            self._busy -= 1
            self._busy_seconds += time.monotonic() - begun
        self._jobs += 1
        if result.ok:
            self._watchdog.observe(task.job, time.monotonic() - begun)
        self._settle(task, result)
        return result.cause != "device"

    def _settle(self, task: _Task, result: Result) -> None:
        """Accept a result, unless it is worth another attempt or nobody waits for it any more."""
        if task.done.is_set():
            return
        if result.cause is not None:
            self._causes[result.cause] += 1
            if task.tally.add(result.cause):
                self._enqueue(task)
                return
            result = _given_up(task, result)
        task.result = result
        task.done.set()
        if (known := self._ticks.get(task.tick)) is not None:
            known.results.append(result)
            known.bell.ring()

    def _end(self, reason: PbtDisentError) -> None:
        if self._ended is None:
            self._ended = reason
            for career, hands in self._careers.items():
                hands.kill()
                career.cancel()
            for task in (*(task for tick in self._ticks.values() for task in tick.tasks.values()), *self._calls):
                task.done.set()
            for tick in self._ticks.values():
                tick.bell.ring()


def _given_up(task: _Task, result: Result) -> Result:
    """Return a last result that says how the attempts of its task ended; an error of the code stays as it is."""
    error = pickle.loads(result.payload)
    if result.cause in {"code", "storage"} or not isinstance(error, PbtDisentError):
        return result
    mark = "out of memory: " if result.cause == "memory" else ""
    message = f"{mark}no worker brought {task.job.key} to an end ({task.tally}); the last one: {error}"
    return Result(result.key, False, pickle.dumps(PbtDisentError(message)), result.cause)
