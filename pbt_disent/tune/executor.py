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
from pbt_disent.files import StorageFailed
from pbt_disent.population.executor import ScoreTask, Stopped
from pbt_disent.population.fitness import MemberScore
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TaskKey, TrainOutcome, TrainTask
from pbt_disent.tune.link import Connection, Link
from pbt_disent.tune.messages import Job, JobKind, Part, Progress, Result, Statistics

__all__ = ["RayExecutor", "Stalled", "share_out"]

POLL_SECONDS = 0.25
COLLECT_SECONDS = 1.0
ANSWER_SECONDS = 60.0
PICKUP_SECONDS = 120.0
REPORT_SECONDS = 60.0

T = TypeVar("T")


class Stalled(PbtDisentError):
    """Something that must take seconds did not happen; said instead of waiting for ever."""


class _Replaced(Exception):
    """The connection is down, or silent; the work goes on with the next one."""


class RayExecutor:
    """Implements `pbt_disent.population.executor.Executor`; made by `pbt_disent.tune.launch.launch`.

    If the board or the pool dies or falls silent, the unfinished tasks are posted again on the next connection: tasks
    are pure. Several threads may use it at a time, each for a population of its own; the pool gives each a fair share.

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
        self._unreported: dict[int, tuple[Connection, float]] = {}
        self._stopping = threading.Event()

    @property
    def workers(self) -> int:
        """See `Executor.workers`."""
        return self._workers

    def train(self, tasks: Sequence[TrainTask], on_done: Callable[[TrainOutcome], None]) -> list[TrainOutcome]:
        """See `Executor.train`."""
        outcomes: dict[TaskKey, TrainOutcome] = {}

        def take(outcome: TrainOutcome) -> None:
            outcomes[outcome.key] = outcome
            on_done(outcome)

        def play(connection: Connection) -> None:
            self._play(connection, [task for task in tasks if task.key not in outcomes], take)

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
        """Play one tick: post it, and take the results in as they come.

        The slots' reports follow while the generation is scored and committed; one that does not is noticed later.
        """
        self._see_reports(connection)
        tick = next(self._ticks)
        parts = share_out(tick, tasks, self._slots)
        keys = {str(task.key): task.key for task in tasks}
        connection.barrier.open(tick, len(parts))
        posted = connection.board.post.remote(parts)
        begun, seen = time.monotonic(), 0
        while seen < len(tasks):
            collected = connection.pool.collect.remote(tick, seen, len(tasks), COLLECT_SECONDS)
            progress: Progress = self._get(connection, collected)
            for result in progress.results:
                take(_outcome(keys[result.key], result))
            seen += len(progress.results)
            if progress.ended is not None:
                raise progress.ended
            if progress.known < len(tasks):
                self._get(connection, posted)
                if time.monotonic() - begun > PICKUP_SECONDS:
                    missing = f"{len(tasks) - progress.known} of {len(tasks)} tasks"
                    raise Stalled(f"the slots did not pick up {missing} within {PICKUP_SECONDS:.0f} s")
        self._unreported[tick] = connection, time.monotonic()

    def _see_reports(self, connection: Connection) -> None:
        """Let the pool forget the ticks that were reported by all slots.

        Raises:
            Stalled: one was not, for long.
        """
        for tick, (where, trained) in list(self._unreported.items()):
            missing = where.barrier.wait(tick, 0) if where is connection else set()
            if missing and time.monotonic() - trained > REPORT_SECONDS:
                raise Stalled(f"all tasks are done, but parts {sorted(missing)} were not reported by their slots")
            if not missing:
                self._unreported.pop(tick, None)
                where.pool.close.remote(tick)

    def _call(self, kind: JobKind, name: str, task: ScoreTask | EncodeTask) -> Any:
        """Have one job done outside of any tick; an error in it is raised here."""
        job = Job(name, kind, 1.0, pickle.dumps(task))

        def use(connection: Connection) -> Result:
            called: Any = connection.pool.call.remote(job)
            while not ray.wait([called], timeout=POLL_SECONDS)[0]:
                self._get(connection, connection.pool.statistics.remote())
            result: Result = self._get(connection, called)
            return result

        result = self._connected(use)
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
        """Wait for an answer of the board or the pool without being deaf to `stop`; neither may be silent for long."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while not ray.wait([reference], timeout=POLL_SECONDS)[0]:
            self._check(connection)
            if time.monotonic() > deadline:
                raise _Replaced(f"the run's board or pool gave no answer for {ANSWER_SECONDS:.0f} s")
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
