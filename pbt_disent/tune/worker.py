"""A worker: the long-lived process that trains, scores and encodes; and its handle, as the pool holds it."""

from __future__ import annotations

import gc
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import ray
from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayError

from pbt_disent.errors import PbtDisentError
from pbt_disent.files import storage_failure
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask, WorkerContext
from pbt_disent.tune.images import SharedImages
from pbt_disent.tune.messages import Job, Result
from pbt_disent.tune.pool import WorkerLost
from pbt_disent.tune.retries import Cause

if TYPE_CHECKING:
    from pbt_disent.training.member import Trainer

__all__ = ["Hiring", "TrainerFactory", "TrainerLike", "Worker"]


class TrainerLike(Protocol):
    """What a worker needs of `pbt_disent.training.member.Trainer`."""

    def train(self, task: TrainTask) -> TrainOutcome:
        """Train a task."""
        ...

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """Encode a set of images."""
        ...


TrainerFactory = Callable[..., TrainerLike]
"""Called with the context, and with the images (N, C, H, W) too where they do not lie in the context's folder."""


class Worker:
    """An actor that does one job at a time. Construction is cheap; `start` imports torch and opens the images.

    Args:
        context: what the trainer needs.
        trainer: makes the trainer; none for the real one.
        images: where the images are; none for the folder in the context.
    """

    def __init__(
        self, context: WorkerContext, trainer: TrainerFactory | None, images: SharedImages | None = None
    ) -> None:
        self._context = context
        self._make = trainer
        self._images = images
        self._trainer: TrainerLike

    def start(self) -> PbtDisentError | None:
        """Make the trainer; return what is wrong with the run if that fails."""
        try:
            # The scorers come with the first generation's end; imported now, they cost it nothing.
            from pbt_disent.population.executor import run_score_task  # noqa: F401
            from pbt_disent.training.member import Trainer

            shared = () if self._images is None else (self._images.array(),)
            self._trainer = (self._make or Trainer)(self._context, *shared)
        except Exception as error:  # the process boundary: whatever it is, the driver must hear of it
            return _portable(error)
        return None

    def run(self, job: Job) -> Result:
        """Do a job."""
        try:
            done = self._do(job)
            cause: Cause | None = "code" if getattr(done, "status", "") == "failed" else None
            return Result(job.key, True, pickle.dumps(done), cause)
        except Exception as error:  # the process boundary: whatever it is, the driver must hear of it
            cause = _cause(error)
            if cause == "memory":
                _free_memory()
            return Result(job.key, False, pickle.dumps(_portable(error)), cause)

    def _do(self, job: Job) -> object:
        from pbt_disent.population.executor import run_score_task, run_train_task

        task = pickle.loads(job.payload)
        if job.kind == "train":
            return run_train_task(cast("Trainer", self._trainer), task)
        if job.kind == "score":
            return run_score_task(task, BlobStore(self._context.store))
        return self._trainer.encode(task)


def _cause(error: Exception) -> Cause:
    """Return what kept a job from its end. torch's errors are known by name: not every trainer imports it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory"
    if type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error):
        return "device"
    return "storage" if isinstance(error, OSError) else "code"


def _free_memory() -> None:
    """Give back what a failed job has left, on the GPU too."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _portable(error: Exception) -> PbtDisentError:
    """Return an error that survives pickling and says the same in one line."""
    if isinstance(error, PbtDisentError):
        return error
    if isinstance(error, OSError):
        return storage_failure(error)
    return PbtDisentError(f"{type(error).__name__}: {' '.join(str(error).split())}")


@dataclass(frozen=True)
class Hiring:
    """Starts workers, each as an actor of its own; called by the pool, which then owns them.

    Args:
        context: what the trainer needs.
        cpus: CPUs that a worker asks Ray for, a little less than it uses.
        gpus: GPUs that a worker asks for, often a fraction.
        trainer: see `Worker`.
        images: see `Worker`.
    """

    context: WorkerContext
    cpus: float
    gpus: float
    trainer: TrainerFactory | None = None
    images: SharedImages | None = None

    def __call__(self) -> _Hands:
        """Ask Ray for a worker; it may take a while until there is a place for it."""
        # SPREAD: to every node before a second one goes to any.
        worker: Any = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, scheduling_strategy="SPREAD")(
            Worker
        )
        return _Hands(worker.remote(self.context, self.trainer, self.images))


class _Hands:
    """A worker as the pool holds it; every way in which Ray can lose it is `WorkerLost`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def start(self) -> None:
        problem: PbtDisentError | None = await self._answer(self._actor.start.remote())
        if problem is not None:
            raise problem

    async def run(self, job: Job) -> Result:
        result: Result = await self._answer(self._actor.run.remote(job))
        return result

    def kill(self) -> None:
        ray.kill(self._actor)

    async def _answer(self, reference: Any) -> Any:
        try:
            return await reference
        except RayError as error:
            raise WorkerLost(str(error).strip().splitlines()[0], _loss(error)) from error


def _loss(error: RayError) -> Cause:
    """Return whether Ray lost a worker with its node, by the node's want of memory, or alone."""
    if isinstance(error, OutOfMemoryError):
        return "memory"
    text = str(error)
    gone = isinstance(error, ActorUnavailableError | NodeDiedError) or "node has died" in text or "node was" in text
    return "node" if gone else "process"
