"""Who trains and scores for the engine: the protocol, its messages, and the executor inside this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from pbt_disent.errors import PbtDisentError
from pbt_disent.population.fitness import FITNESS, MemberScore, ScoredMember
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.training.member import Trainer
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask, WorkerContext
from pbt_disent.types import Json

__all__ = ["Executor", "InProcessExecutor", "ScoreTask", "Stopped", "run_score_task", "run_train_task"]

OnDone = Callable[[TrainOutcome], None]


class Stopped(PbtDisentError):
    """The run was asked to stop; everything committed so far stands."""

    exit_code = 130


@dataclass(frozen=True)
class ScoreTask:
    """Score all members of a generation together.

    Args:
        round: path of the round.
        generation: the generation to score.
        fitness: name in the fitness registry.
        members: the members that trained without error.
        options: of the fitness function.
    """

    round: str
    generation: int
    fitness: str
    members: tuple[ScoredMember, ...]
    options: Json = field(default_factory=dict)


class Executor(Protocol):
    """Runs tasks somewhere. Implementations retry what the infrastructure lost; they never change a result.

    Several threads may call one at a time, each for a population or a member of its own.
    """

    @property
    def workers(self) -> int:
        """How many tasks run at a time."""
        ...

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        """Run tasks of one generation and return their outcomes in the order of the tasks.

        Args:
            tasks: longest first is up to the executor.
            on_done: called in the calling thread as outcomes arrive, for progress only.

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

    Raises:
        OSError: the storage does not work, which says nothing about the member.
        MemoryError: neither does a want of memory, here or (torch.OutOfMemoryError) on the GPU.
        torch.AcceleratorError: the GPU's context is broken, and this process is of no use any more.
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
    """Score a generation from the blobs that its members left."""
    return FITNESS[task.fitness](task.members, task.options, blobs)


class InProcessExecutor:
    """Runs every task in this process, one after another: for tests, and for machines without Ray.

    Args:
        context: what the trainer needs.
    """

    workers = 1

    def __init__(self, context: WorkerContext) -> None:
        self._trainer = Trainer(context)
        self._blobs = BlobStore(context.store)
        self._stopped = False
        self._turn = threading.Lock()

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        """See `Executor.train`."""
        outcomes = []
        for task in tasks:
            self._check()
            with self._turn:
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
        with self._turn:
            return run_score_task(task, self._blobs)

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """See `Executor.encode`."""
        self._check()
        with self._turn:
            return self._trainer.encode(task)

    def stop(self) -> None:
        """See `Executor.stop`."""
        self._stopped = True

    def _check(self) -> None:
        if self._stopped:
            raise Stopped("the run was asked to stop")
