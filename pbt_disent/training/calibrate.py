"""How fast this machine trains a member, by a short stretch of the real work on the real images."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pbt_disent.config import ResourcesConfig
from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.member import Trainer
from pbt_disent.training.tasks import TaskKey, TrainTask, WorkerContext
from pbt_disent.types import Hyperparameters

__all__ = ["Calibration", "calibrate", "choose_stacked", "on_scratch"]


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Args:
        images_per_second: trained by one worker, encoding of the probe included.
        checkpoint: bytes of one checkpoint.
    """

    images_per_second: float
    checkpoint: int


@contextlib.contextmanager
def on_scratch(context: WorkerContext) -> Iterator[WorkerContext]:
    """Give the context a throw-away blob store that holds what its objective is told."""
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as folder:
        for digest in filter(None, (context.labels, context.partners)):
            BlobStore(folder).put(BlobStore(context.store).get(digest))
        yield replace(context, store=folder)


def calibrate(
    context: WorkerContext, size: int, hyperparameters: Hyperparameters, seconds: float, replicas: int = 1
) -> Calibration:
    """Train replicas for about so many seconds, in longer and longer tasks, and time the last one.

    The first task only warms up.

    Args:
        context: of a throw-away blob store.
        size: number of images.
        hyperparameters: a full set.
        seconds: how long to measure.
        replicas: trained in one task.
    """
    trainer, blobs = Trainer(context), BlobStore(context.store)
    probe = blobs.put_array(np.sort(Streams(0).generator("calibrate").permutation(size)[:200]).astype(np.int64))
    images = int(hyperparameters["batch_size"])
    key = TaskKey("calibration", 0, 0, tuple(range(replicas)))
    begin = time.perf_counter()
    while True:
        started = time.perf_counter()
        outcome = trainer.train(TrainTask(key, 0, (None,) * replicas, hyperparameters, images, None, probe))
        now = time.perf_counter()
        if now - begin >= seconds / 2 and images > hyperparameters["batch_size"]:
            checkpoint = len(blobs.get(outcome.checkpoints[0])) if outcome.checkpoints else 0
            return Calibration(outcome.images / (now - started), checkpoint)
        images *= 2


def choose_stacked(
    resources: ResourcesConfig,
    context: WorkerContext,
    size: int,
    hyperparameters: Hyperparameters,
    replicas: int,
    seconds: float = 1.0,
) -> bool:
    """Return whether the replicas of a member train as one stacked model.

    What `resources.replicas` says, and for ``auto`` what is faster: on a GPU that is measured. On a CPU it is the loop,
    which uses each core by a task of its own and convolves channels-last, where a stack must convolve in groups: a
    stack of five beta-TCVAEs took 1.1 times as long at 32x32 and 2.2 times as long at 64x64, on one thread.

    Args:
        resources: the section of the config.
        context: of the run, with the device that it trains on.
        size: number of images.
        hyperparameters: a full set.
        replicas: of a member.
        seconds: how long to measure, if at all.

    Raises:
        UserError: a stack is asked for, and the objective cannot be stacked.
    """
    looped = next(filter(None, (OBJECTIVES[name].loop_only(settings) for name, settings in context.kinds)), "")
    if resources.replicas == "stacked" and looped:
        raise UserError("resources.replicas=stacked", looped, "use resources.replicas=auto")
    if resources.replicas != "auto":
        return resources.replicas == "stacked"
    if replicas == 1 or looped or resources.compile or context.device == "cpu":
        return False
    with on_scratch(context) as scratch:
        speeds = [
            calibrate(replace(scratch, stacked=stacked), size, hyperparameters, seconds / 2, replicas).images_per_second
            for stacked in (False, True)
        ]
    return speeds[1] > speeds[0]
