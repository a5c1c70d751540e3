"""The pool: owns every work item of the run and the workers that do them.

An item is submitted by key, twice if need be, and done once. A worker that dies is replaced and its item put back:
tasks are pure, so that the result is the same. Several generations, each of a population of its own, may be open at a
time. The pool holds nothing that the manifests do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import pickle
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from pbt_disent.errors import PbtDisentError
from pbt_disent.tune.messages import CollectedResults, FailureCause, PoolStatistics, WorkItem, WorkResult
from pbt_disent.tune.retries import FailureCounter, TimeLimit

__all__ = ["MAX_FAILED_STARTS", "WorkerHandle", "WorkerLost", "WorkerPool"]

MAX_FAILED_STARTS = 3
START_SECONDS = 180.0
LINGER_SECONDS = 0.2
"""Results are handed on together with those that follow within so long."""

SINGLE_ITEMS = -1
"""The number that single items have in place of their generation's; a whole population waits for each of them."""

T = TypeVar("T")


class WorkerLost(Exception):
    """The infrastructure took a worker away.

    Args:
        reason: What happened, for people to read.
        cause: Whether it was the worker's node, its process alone, or the node's memory.
    """

    def __init__(self, reason: str, cause: FailureCause = "process") -> None:
        super().__init__(reason)
        self.cause: FailureCause = cause


class WorkerHandle(Protocol):
    """A worker, as the pool sees it."""

    async def start(self) -> None:
        """Make it ready. Raises `WorkerLost`, or a `PbtDisentError` if no worker can work on this run."""
        ...

    async def run(self, item: WorkItem) -> WorkResult:
        """Do a work item. Raises `WorkerLost`."""
        ...

    def kill(self) -> None:
        """End its process at once."""
        ...


class _FairQueue(Generic[T]):
    """Items in groups, handed out one by one; belongs to one event loop.

    The group of which the fewest items are being worked on goes first; among equals, the one that was served longest
    ago. Within a group the heaviest item goes first.

    Args:
        urgent: A group that goes before all others.
    """

    def __init__(self, urgent: Hashable = None) -> None:
        self._urgent = urgent
        self._last_served: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, list[tuple[float, int, T]]] = {}
        self._num_running: Counter[Hashable] = Counter()
        self._order = itertools.count()
        self._added = asyncio.Event()

    def put(self, group: Hashable, weight: float, item: T) -> None:
        heapq.heappush(self._waiting.setdefault(group, []), (-weight, next(self._order), item))
        self._added.set()

    async def get(self) -> tuple[Hashable, T]:
        """Wait for an item, and return it with its group; `release` must follow."""
        while not self._waiting:
            self._added.clear()
            await self._added.wait()
        group = min(
            self._waiting,
            key=lambda group: (group != self._urgent, self._num_running[group], self._last_served.get(group, -1)),
        )
        self._last_served[group] = next(self._order)
        _, _, item = heapq.heappop(self._waiting[group])
        if not self._waiting[group]:
            del self._waiting[group]
        self._num_running[group] += 1
        return group, item

    def release(self, group: Hashable) -> None:
        """Note that an item of a group is not being worked on any more."""
        self._num_running[group] -= 1
        if not self._num_running[group]:
            del self._num_running[group]
        if group not in self._num_running and group not in self._waiting:
            self._last_served.pop(group, None)

    def drop(self, group: Hashable) -> None:
        """Forget all waiting items of a group."""
        self._waiting.pop(group, None)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))


class _Submission:
    """A work item, and what came of it: `done` without a result means that nobody wants it any more."""

    def __init__(self, item: WorkItem, generation: int) -> None:
        self.item, self.generation = item, generation
        self.failures = FailureCounter()
        self.result: WorkResult | None = None
        self.done = asyncio.Event()


@dataclass
class _Generation:
    """What was submitted for a generation of a population, by key, and the results in the order in which they came."""

    submissions: dict[str, _Submission] = field(default_factory=dict)
    results: list[WorkResult] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class WorkerPool:
    """An async actor on one event loop: one coroutine per worker takes the next item, again and again.

    Args:
        start_worker: Called to start a worker process.
        time_limit: How long an item may take; `None` stands for the defaults of `TimeLimit`.
    """

    def __init__(self, start_worker: Callable[[], WorkerHandle], time_limit: TimeLimit | None = None) -> None:
        self._start_worker = start_worker
        self._time_limit = time_limit or TimeLimit()
        self._max_workers = self._min_workers = 0
        self._generations: dict[int, _Generation] = {}
        self._closed: set[int] = set()
        self._single: set[_Submission] = set()
        self._queue: _FairQueue[_Submission] = _FairQueue(urgent=SINGLE_ITEMS)
        self._lifetimes: dict[asyncio.Task[None], WorkerHandle] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self._num_busy = self._num_started = self._num_lost = self._num_completed = self._failed_starts = 0
        self._busy_seconds = 0.0
        self._failures: Counter[str] = Counter()
        self._error: PbtDisentError | None = None

    async def resize(self, max_workers: int, min_workers: int) -> None:
        """Have `min_workers` workers at once, and up to `max_workers` when there is work for them.

        With fewer than before, workers that still wait for resources are given up.
        """
        self._max_workers, self._min_workers = max_workers, min(min_workers, max_workers)
        for lifetime in list(self._starting)[: max(0, len(self._lifetimes) - max_workers)]:
            lifetime.cancel()
        self._start_missing_workers()

    async def run(self, generation: int, items: Iterable[WorkItem]) -> None:
        """Do the items of a generation, and return when all have a result; do nothing for one that was closed."""
        if generation in self._closed or self._error is not None:
            return
        submitted = self._open(generation).submissions
        submissions = [submitted.get(item.key) or self._submit(item, generation) for item in items]
        self._start_missing_workers()
        await asyncio.gather(*(submission.done.wait() for submission in submissions))

    async def collect(self, generation: int, num_received: int, num_expected: int, timeout: float) -> CollectedResults:
        """Return the results of a generation beyond the first `num_received`.

        Waits at most `timeout` seconds for a result, and then a little for more of the `num_expected` ones.
        """
        collected, deadline = self._open(generation), time.monotonic() + timeout
        while len(collected.results) < num_expected and self._error is None and generation not in self._closed:
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                break
            before = len(collected.results)
            collected.changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await collected.changed.wait()
            if before == num_received and len(collected.results) > num_received:
                deadline = min(deadline, time.monotonic() + LINGER_SECONDS)
        return CollectedResults(tuple(collected.results[num_received:]), len(collected.submissions), self._error)

    async def close(self, generation: int) -> None:
        """Drop a generation: its waiting items are not done any more, and late requests for it are refused."""
        self._closed.add(generation)
        if (closed := self._generations.pop(generation, None)) is None:
            return
        self._queue.drop(generation)
        for submission in closed.submissions.values():
            submission.done.set()
        closed.changed.set()

    async def run_single(self, item: WorkItem) -> WorkResult:
        """Do a single item that belongs to no generation, and return its result."""
        submission = _Submission(item, SINGLE_ITEMS)
        self._single.add(submission)
        if self._error is None:
            self._enqueue(submission)
            self._start_missing_workers()
            await submission.done.wait()
        self._single.discard(submission)
        return submission.result or WorkResult(item.key, False, pickle.dumps(self._error))

    async def shut_down(self) -> None:
        """Kill all workers and free everybody who waits."""
        self._fail(PbtDisentError("the pool was shut down"))

    async def statistics(self) -> PoolStatistics:
        """Return what the workers have done so far."""
        return PoolStatistics(
            started=self._num_started,
            lost=self._num_lost,
            alive=len(self._lifetimes),
            completed=self._num_completed,
            busy_seconds=self._busy_seconds,
            failures=dict(self._failures),
        )

    def _open(self, generation: int) -> _Generation:
        if generation in self._closed:
            return _Generation()
        return self._generations.setdefault(generation, _Generation())

    def _submit(self, item: WorkItem, generation: int) -> _Submission:
        submission = self._generations[generation].submissions[item.key] = _Submission(item, generation)
        self._enqueue(submission)
        return submission

    def _enqueue(self, submission: _Submission) -> None:
        self._queue.put(submission.generation, submission.item.weight, submission)

    def _start_missing_workers(self) -> None:
        demand = self._num_busy + len(self._queue)
        while self._error is None and len(self._lifetimes) < min(self._max_workers, max(self._min_workers, demand)):
            worker = self._start_worker()
            self._num_started += 1
            lifetime = asyncio.create_task(self._live(worker))
            self._lifetimes[lifetime] = worker
            self._starting.add(lifetime)
            lifetime.add_done_callback(self._on_lifetime_end)

    def _on_lifetime_end(self, lifetime: asyncio.Task[None]) -> None:
        """Replace a worker that has ended; in a healthy run none does before the pool's own end."""
        self._lifetimes.pop(lifetime).kill()
        self._starting.discard(lifetime)
        if lifetime.cancelled():
            return
        self._num_lost += 1
        if (error := lifetime.exception()) is not None:
            self._fail(error if isinstance(error, PbtDisentError) else PbtDisentError(f"the pool failed: {error!r}"))
        self._start_missing_workers()

    async def _live(self, worker: WorkerHandle) -> None:
        """Start a worker and give it items for as long as it lives; failed starts matter while no worker works."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker.start()
        except (WorkerLost, TimeoutError) as error:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS and len(self._starting) == len(self._lifetimes):
                reason = str(error) or f"not ready after {START_SECONDS:.0f} s"
                raise PbtDisentError(f"no worker starts ({self._failed_starts} tries): {reason}") from error
            return
        self._failed_starts = 0
        self._starting = {lifetime for lifetime in self._starting if self._lifetimes[lifetime] is not worker}
        is_usable = True
        while is_usable:
            generation, submission = await self._queue.get()
            try:
                is_usable = submission.done.is_set() or await self._attempt(worker, submission)
            finally:
                self._queue.release(generation)

    async def _attempt(self, worker: WorkerHandle, submission: _Submission) -> bool:
        """Have a worker do an item, and return whether the worker can be used again."""
        item, limit = submission.item, self._time_limit.seconds_for(submission.item)
        self._num_busy += 1
        start = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                result = await worker.run(item)
        except (WorkerLost, TimeoutError) as error:
            cause: FailureCause = error.cause if isinstance(error, WorkerLost) else "stuck"
            reason = str(error) or f"stuck for more than {limit:.0f} s"
            self._finish(submission, WorkResult(item.key, False, pickle.dumps(PbtDisentError(reason)), cause))
            return False
        finally:
            self._num_busy -= 1
            self._busy_seconds += time.monotonic() - start
        self._num_completed += 1
        if result.ok:
            self._time_limit.observe(item, time.monotonic() - start)
        self._finish(submission, result)
        return result.cause != "device"

    def _finish(self, submission: _Submission, result: WorkResult) -> None:
        """Accept a result, unless the item is worth another attempt or nobody waits for it any more."""
        if submission.done.is_set():
            return
        if result.cause is not None:
            self._failures[result.cause] += 1
            if submission.failures.add(result.cause):
                self._enqueue(submission)
                return
            result = _explain_failures(submission, result)
        submission.result = result
        submission.done.set()
        if (generation := self._generations.get(submission.generation)) is not None:
            generation.results.append(result)
            generation.changed.set()

    def _fail(self, error: PbtDisentError) -> None:
        if self._error is not None:
            return
        self._error = error
        for lifetime, worker in self._lifetimes.items():
            worker.kill()
            lifetime.cancel()
        for submission in self._single:
            submission.done.set()
        for generation in self._generations.values():
            for submission in generation.submissions.values():
                submission.done.set()
            generation.changed.set()


def _explain_failures(submission: _Submission, result: WorkResult) -> WorkResult:
    """Return a last result that says how the attempts at its item ended; an error of the code stays as it is."""
    error = pickle.loads(result.payload)
    if result.cause in {"code", "storage"} or not isinstance(error, PbtDisentError):
        return result
    prefix = "out of memory: " if result.cause == "memory" else ""
    message = f"{prefix}no worker brought {result.key} to an end ({submission.failures}); the last one: {error}"
    return WorkResult(result.key, False, pickle.dumps(PbtDisentError(message)), result.cause)
