"""What trains and scores for the engine: the protocol, its messages, the executor in this process, and launchers.

A launcher is what a config names under `resources.executor`: it brings up workers, and gives the engine their executor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch

from pbt_disent.config import ResourcesConfig
from pbt_disent.errors import PbtDisentError
from pbt_disent.population.fitness import Fitness, MemberCodes, MemberScore
from pbt_disent.registry import Component, Registry
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.training.member import Trainer
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask, WorkerContext

__all__ = [
    "LAUNCHERS",
    "Executor",
    "InProcess",
    "InProcessExecutor",
    "LabelLevel",
    "Launcher",
    "ProbeLabels",
    "ScoreTask",
    "Stopped",
    "TrainedMember",
    "run_score_task",
    "run_train_task",
]

LAUNCHERS: Registry[type[Launcher]] = Registry("executor", "pbt_disent.population.executor", "pbt_disent.tune.launcher")

T = TypeVar("T")

OnDone = Callable[[TrainOutcome], None]


class Stopped(PbtDisentError):
    """The run was asked to stop; everything committed so far stands."""

    exit_code = 130


@dataclass(frozen=True)
class TrainedMember:
    """A member to be scored.

    Args:
        member: The index of the member.
        codes: The digests of its float32 probe codes, each (some replicas, N, Z), together all replicas in order.
        information: The information of each latent in nats, (replicas, Z).
    """

    member: int
    codes: tuple[str, ...]
    information: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class LabelLevel:
    """The labels of some of the probe images.

    Args:
        rows: The digest of an int64 array with the positions of the images in the probe.
        values: The digest of an array (rows, L) of their labels.
    """

    rows: str
    values: str


ProbeLabels = tuple[tuple[LabelLevel, ...], ...]
"""The labels that members are scored by, for each leaf run its levels; those of a data set are one leaf run of one
level."""


@dataclass(frozen=True)
class ScoreTask:
    """Score all members of a generation together.

    Args:
        round: The path of the round.
        generation: The generation to score.
        fitness: What members are ranked by.
        members: The members that trained without error.
        labels: The labels of the probe images, for a fitness that uses them.
    """

    round: str
    generation: int
    fitness: Fitness
    members: tuple[TrainedMember, ...]
    labels: ProbeLabels = ()


class Executor(Protocol):
    """Runs tasks somewhere. Implementations retry what the infrastructure lost; they never change a result.

    Several threads may call one at a time, each for a population or a member of its own.
    """

    @property
    def workers(self) -> int:
        """The number of tasks that run at a time."""
        ...

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        """Run tasks of one generation and return their outcomes in the order of the tasks.

        Args:
            tasks: The tasks, which the executor may start in any order.
            on_done: Called in the calling thread with each outcome as it arrives, for progress only.

        Raises:
            Stopped: `stop` was called.
        """
        ...

    def score(self, task: ScoreTask) -> list[MemberScore]:
        """Score a generation; one result per `task.members`, in order.

        Raises:
            Stopped: `stop` was called.
        """
        ...

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """Encode a set of images.

        Raises:
            Stopped: `stop` was called.
        """
        ...

    def stop(self) -> None:
        """Make the running and every later call raise `Stopped`, soon. May be called from a signal handler."""
        ...


def run_train_task(trainer: Trainer, task: TrainTask) -> TrainOutcome:
    """Run one task; an exception of the training code becomes an outcome with status ``failed``.

    Args:
        trainer: The trainer of this process.
        task: The task.

    Raises:
        OSError: The storage does not work, which says nothing about the member.
        MemoryError: There is too little memory, here or (torch.OutOfMemoryError) on the GPU, which says nothing of it
            either.
        torch.AcceleratorError: The GPU's context is broken, and this process is of no use any more.
    """
    try:
        return trainer.train(task)
    except (OSError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:  # whatever the code of an objective raises
        lost = error.digest if isinstance(error, CorruptBlob) else None
        return TrainOutcome(
            key=task.key, status="failed", error=f"{type(error).__name__}: {' '.join(str(error).split())}", lost=lost
        )


def run_score_task(task: ScoreTask, blobs: BlobStore) -> list[MemberScore]:
    """Score a generation from the blobs that its members left.

    Args:
        task: The task.
        blobs: The blobs of the run.
    """
    members = [
        MemberCodes(
            member.member,
            np.concatenate([np.asarray(blobs.get_array(digest), dtype=np.float32) for digest in member.codes]),
            np.asarray(member.information),
        )
        for member in task.members
    ]
    labels = [
        [(blobs.get_array(level.rows).astype(np.int64), np.asarray(blobs.get_array(level.values))) for level in leaf]
        for leaf in task.labels
    ]
    return task.fitness.score(members, labels)


class InProcessExecutor:
    """Runs every task in this process, one after another: for tests, and for machines without Ray.

    Args:
        context: The context of the run.
    """

    workers = 1

    def __init__(self, context: WorkerContext) -> None:
        self._trainer = Trainer(context)
        self._blobs = BlobStore(context.store)
        self._stopped = False
        self._lock = threading.Lock()

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        """See `Executor.train`."""
        outcomes = []
        for task in tasks:
            self._check()
            with self._lock:
                outcomes.append(self._attempt(task))
            on_done(outcomes[-1])
        return outcomes

    def _attempt(self, task: TrainTask) -> TrainOutcome:
        try:
            return run_train_task(self._trainer, task)
        except (MemoryError, torch.OutOfMemoryError) as error:
            return TrainOutcome(task.key, "failed", error=f"out of memory: {' '.join(str(error).split())}")

    def score(self, task: ScoreTask) -> list[MemberScore]:
        """See `Executor.score`."""
        self._check()
        with self._lock:
            return run_score_task(task, self._blobs)

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """See `Executor.encode`."""
        self._check()
        with self._lock:
            return self._trainer.encode(task)

    def stop(self) -> None:
        """See `Executor.stop`."""
        self._stopped = True

    def _check(self) -> None:
        if self._stopped:
            raise Stopped("the run was asked to stop")


class Launcher(Component):
    """Base of all executors that a config can name."""

    def launch(
        self,
        main: Callable[[Executor], T],
        context: WorkerContext,
        resources: ResourcesConfig,
        run_name: str,
        max_population: int,
    ) -> T:
        """Bring up workers, call `main` with their executor, take them down, and return what `main` returned.

        Args:
            main: The engine.
            context: What the workers need to know.
            resources: The section of the config.
            run_name: The name of the run.
            max_population: The number of members of the largest population.
        """
        raise NotImplementedError


@LAUNCHERS.register("in-process")
class InProcess(Launcher):
    """Run everything in this process, one task after another, without Ray."""

    def launch(
        self,
        main: Callable[[Executor], T],
        context: WorkerContext,
        resources: ResourcesConfig,
        run_name: str,
        max_population: int,
    ) -> T:
        """See `Launcher.launch`."""
        return main(InProcessExecutor(context))
