"""The engine's executor on Ray: posts a generation, takes in its results, and waits for the slots' reports."""

from __future__ import annotations

import itertools
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from pbt_disent.errors import PbtDisentError
from pbt_disent.population.executor import ScoreTask, Stopped
from pbt_disent.population.fitness import MemberScore
from pbt_disent.store.files import StorageFailed
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TaskKey, TrainOutcome, TrainTask
from pbt_disent.tune.link import Connection, Link
from pbt_disent.tune.messages import Job, JobKind, Part, Progress, Result, Statistics

__all__ = ["RayExecutor", "Stalled", "share_out"]

POLL_SECONDS = 0.25
COLLECT_SECONDS = 1.0
PICKUP_SECONDS = 120.0
REPORT_SECONDS = 60.0

T = TypeVar("T")


class Stalled(PbtDisentError):
    """Something that must take seconds did not happen; said instead of waiting for ever."""


class _Replaced(Exception):
    """The connection is down; the work goes on with the next one."""


class RayExecutor:
    """Implements `pbt_disent.population.executor.Executor`; made by `pbt_disent.tune.launch.launch`.

    If the board or the pool dies, the unfinished tasks are posted again on the next connection: tasks are pure.

    Args:
        link: brings the connection, when Ray is up, and another one when that is lost.
        slots: over how many slots the members are spread.
        workers: how many tasks run at a time.
    """

    def __init__(self, link: Link, slots: int, workers: int) -> None:
        self._link = link
        self._slots = slots
        self._workers = workers
        self._ticks = itertools.count()
        self._turn = threading.Lock()
        self._stopping = threading.Event()

    @property
    def workers(self) -> int:
        """See `Executor.workers`."""
        return self._workers

    def train(self, tasks: Sequence[TrainTask], on_done: Callable[[TrainOutcome], None]) -> list[TrainOutcome]:
        """See `Executor.train`. One generation at a time: a second thread waits for its turn."""
        outcomes: dict[TaskKey, TrainOutcome] = {}

        def take(outcome: TrainOutcome) -> None:
            outcomes[outcome.key] = outcome
            on_done(outcome)

        def play(connection: Connection) -> None:
            self._play(connection, [task for task in tasks if task.key not in outcomes], take)

        with self._turn:
            if tasks:
                self._connected(play)
        return [outcomes[task.key] for task in tasks]

    def score(self, task: ScoreTask) -> list[MemberScore]:
        """See `Executor.score`."""
        scores: list[MemberScore] = self._call("score", f"score of {task.round}:g{task.generation}", task)
        return scores

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """See `Executor.encode`."""
        outcome: EncodeOutcome = self._call("encode", f"encoding with {task.checkpoint[:12]}", task)
        return outcome

    def stop(self) -> None:
        """See `Executor.stop`. Sets a flag and nothing else, so that a signal handler may call it."""
        self._stopping.set()

    def statistics(self) -> tuple[Statistics, dict[int, int]]:
        """Return what the workers did so far, and how often each slot has started (1 in a healthy run)."""

        def ask(connection: Connection) -> tuple[Statistics, dict[int, int]]:
            return (
                self._get(connection, connection.pool.statistics.remote()),
                self._get(connection, connection.board.incarnations.remote()),
            )

        return self._connected(ask)

    def _play(self, connection: Connection, tasks: Sequence[TrainTask], take: Callable[[TrainOutcome], None]) -> None:
        """Play one tick: post it, take the results in as they come, wait until every slot has reported."""
        tick = next(self._ticks)
        parts = share_out(tick, tasks, self._slots)
        keys = {str(task.key): task.key for task in tasks}
        connection.barrier.open(tick, len(parts))
        self._get(connection, connection.pool.open.remote(tick))
        self._get(connection, connection.board.post.remote(parts))
        posted, seen = time.monotonic(), 0
        while seen < len(tasks):
            progress: Progress = self._get(connection, connection.pool.collect.remote(tick, seen, COLLECT_SECONDS))
            for result in progress.results:
                take(_outcome(keys[result.key], result))
            seen += len(progress.results)
            if progress.ended is not None:
                raise progress.ended
            if progress.known < len(tasks) and time.monotonic() - posted > PICKUP_SECONDS:
                missing = f"{len(tasks) - progress.known} of {len(tasks)} tasks"
                raise Stalled(f"the slots did not pick up {missing} within {PICKUP_SECONDS:.0f} s")
        trained = time.monotonic()
        while waiting := connection.barrier.wait(POLL_SECONDS):
            self._check(connection)
            if time.monotonic() - trained > REPORT_SECONDS:
                raise Stalled(f"all tasks are done, but parts {sorted(waiting)} were not reported by their slots")

    def _call(self, kind: JobKind, name: str, task: ScoreTask | EncodeTask) -> Any:
        """Have one job done outside of any tick; an error in it is raised here."""
        job = Job(name, kind, 1.0, pickle.dumps(task))
        result: Result = self._connected(lambda connection: self._get(connection, connection.pool.call.remote(job)))
        content = pickle.loads(result.payload)
        if not result.ok:
            raise content
        return content

    def _connected(self, use: Callable[[Connection], T]) -> T:
        """Use the connection; when it breaks, use the next one."""
        while True:
            self._check(None)
            connection = self._link.wait(POLL_SECONDS)
            if connection is None:
                continue
            try:
                return use(connection)
            except (RayError, _Replaced) as error:
                self._link.withdraw(connection, str(error).strip().splitlines()[0] if str(error) else "it is gone")
                connection.watch.abandon()

    def _get(self, connection: Connection, reference: Any) -> Any:
        """Wait for an answer without being deaf to `stop`."""
        while not ray.wait([reference], timeout=POLL_SECONDS)[0]:
            self._check(connection)
        self._check(connection)
        return ray.get(reference)

    def _check(self, connection: Connection | None) -> None:
        if self._stopping.is_set():
            raise Stopped("the run was asked to stop")
        if connection is not None and not self._link.is_up(connection):
            raise _Replaced


def share_out(tick: int, tasks: Sequence[TrainTask], slots: int) -> list[Part]:
    """Spread the members of a generation over the slots, in cohorts whose sizes differ by one at most."""
    members = sorted({task.key.member for task in tasks})
    cohorts: list[list[Job]] = [[] for _ in range(min(slots, len(members)))]
    home = {member: place % len(cohorts) for place, member in enumerate(members)}
    for task in tasks:
        weight = float(task.images * len(task.key.replicas))
        cohorts[home[task.key.member]].append(Job(str(task.key), "train", weight, pickle.dumps(task)))
    return [Part(tick, part, tuple(jobs)) for part, jobs in enumerate(cohorts)]


def _outcome(key: TaskKey, result: Result) -> TrainOutcome:
    content = pickle.loads(result.payload)
    if result.ok:
        outcome: TrainOutcome = content
        return outcome
    if isinstance(content, StorageFailed):
        raise content  # it says nothing about the member, and a generation without it would be another one
    return TrainOutcome(key, "failed", error=str(content))
