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
from pbt_disent.tune.messages import FailureCause, WorkItem, WorkResult
from pbt_disent.tune.nodes import SharedImages
from pbt_disent.tune.pool import WorkerLost

if TYPE_CHECKING:
    from pbt_disent.training.member import Trainer

__all__ = ["TrainerFactory", "TrainerLike", "Worker", "WorkerFactory"]


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
    """An actor that does one work item at a time.

    Construction is cheap; `start` imports torch and opens the images.

    Args:
        context: What the trainer needs to know.
        make_trainer: Makes the trainer, or `None` for `pbt_disent.training.member.Trainer`.
        images: The images in Ray's object store, or `None` where they lie in the context's folder.
    """

    def __init__(
        self, context: WorkerContext, make_trainer: TrainerFactory | None, images: SharedImages | None = None
    ) -> None:
        self._context = context
        self._make_trainer = make_trainer
        self._images = images
        self._trainer: TrainerLike

    def start(self) -> PbtDisentError | None:
        """Make the trainer; return what is wrong with the run if that fails."""
        try:
            # The scorers come with the first generation's end; imported now, they cost it nothing.
            from pbt_disent.population.executor import run_score_task  # noqa: F401
            from pbt_disent.training.member import Trainer

            images = () if self._images is None else (self._images.array(),)
            self._trainer = (self._make_trainer or Trainer)(self._context, *images)
        except Exception as error:  # the process boundary: whatever it is, the driver must hear of it
            return _picklable(error)
        return None

    def run(self, item: WorkItem) -> WorkResult:
        """Do a work item."""
        try:
            outcome = self._run_task(item)
            cause: FailureCause | None = "code" if getattr(outcome, "status", "") == "failed" else None
            return WorkResult(item.key, True, pickle.dumps(outcome), cause)
        except Exception as error:  # the process boundary: whatever it is, the driver must hear of it
            cause = _failure_cause(error)
            if cause == "memory":
                _free_memory()
            return WorkResult(item.key, False, pickle.dumps(_picklable(error)), cause)

    def _run_task(self, item: WorkItem) -> object:
        from pbt_disent.population.executor import run_score_task, run_train_task

        task = pickle.loads(item.payload)
        if item.kind == "train":
            return run_train_task(cast("Trainer", self._trainer), task)
        if item.kind == "score":
            return run_score_task(task, BlobStore(self._context.store))
        return self._trainer.encode(task)


def _failure_cause(error: Exception) -> FailureCause:
    """Return what kept an item from its end. torch's errors are known by name: not every trainer imports it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory"
    if type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error):
        return "device"
    return "storage" if isinstance(error, OSError) else "code"


def _free_memory() -> None:
    """Give back what a failed task has left, on the GPU too."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _picklable(error: Exception) -> PbtDisentError:
    """Return an error that survives pickling and says the same in one line."""
    if isinstance(error, PbtDisentError):
        return error
    if isinstance(error, OSError):
        return storage_failure(error)
    return PbtDisentError(f"{type(error).__name__}: {' '.join(str(error).split())}")


@dataclass(frozen=True)
class WorkerFactory:
    """Starts workers, each as an actor of its own; called by the pool, which then owns them.

    Args:
        context: What the trainer needs to know.
        cpus: The CPUs that a worker asks Ray for, a little less than it uses.
        gpus: The GPUs that a worker asks for, often a fraction.
        make_trainer: Makes the trainer, or `None` for `pbt_disent.training.member.Trainer`.
        images: The images in Ray's object store, or `None` where they lie in the context's folder.
    """

    context: WorkerContext
    cpus: float
    gpus: float
    make_trainer: TrainerFactory | None = None
    images: SharedImages | None = None

    def __call__(self) -> _ActorHandle:
        """Ask Ray for a worker; it may take a while until there is a place for it."""
        # SPREAD: to every node before a second one goes to any.
        actor: Any = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, scheduling_strategy="SPREAD")(
            Worker
        )
        return _ActorHandle(actor.remote(self.context, self.make_trainer, self.images))


class _ActorHandle:
    """A worker as the pool holds it; every way in which Ray can lose it is `WorkerLost`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def start(self) -> None:
        problem: PbtDisentError | None = await self._get(self._actor.start.remote())
        if problem is not None:
            raise problem

    async def run(self, item: WorkItem) -> WorkResult:
        result: WorkResult = await self._get(self._actor.run.remote(item))
        return result

    def kill(self) -> None:
        ray.kill(self._actor)

    async def _get(self, reference: Any) -> Any:
        try:
            return await reference
        except RayError as error:
            raise WorkerLost(str(error).strip().splitlines()[0], _loss_cause(error)) from error


def _loss_cause(error: RayError) -> FailureCause:
    """Return whether Ray lost a worker with its node, by the node's want of memory, or alone."""
    if isinstance(error, OutOfMemoryError):
        return "memory"
    message = str(error)
    is_node_lost = (
        isinstance(error, ActorUnavailableError | NodeDiedError) or "node has died" in message or "node was" in message
    )
    return "node" if is_node_lost else "process"
