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
from pbt_disent.models.contract import ObjectiveOptions
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.member import Trainer
from pbt_disent.training.tasks import NO_SUPERVISION, SupervisionDigests, TaskKey, TrainTask, WorkerContext
from pbt_disent.types import Hyperparameters

__all__ = ["Calibration", "calibrate", "choose_stacked", "scratch_store"]


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Args:
        images_per_second: The image passes that one worker trains in a second, encoding of the probe included.
        checkpoint_bytes: The size of one checkpoint.
    """

    images_per_second: float
    checkpoint_bytes: int


@contextlib.contextmanager
def scratch_store(context: WorkerContext, supervision: SupervisionDigests) -> Iterator[WorkerContext]:
    """Yield the context with a throw-away blob store that holds the labels and pairs that objectives learn from.

    Args:
        context: The context of the run.
        supervision: The digests of the labels and pairs in the store of the run.
    """
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as folder:
        for digest in supervision.digests:
            BlobStore(folder).put(BlobStore(context.store).get(digest))
        yield replace(context, store=folder)


def calibrate(
    context: WorkerContext,
    objective: ObjectiveOptions,
    num_images: int,
    seconds: float,
    *,
    hyperparameters: Hyperparameters | None = None,
    replicas: int = 1,
    supervision: SupervisionDigests = NO_SUPERVISION,
) -> Calibration:
    """Train replicas for about so many seconds, in longer and longer tasks, and time the last one.

    The first task only warms up.

    Args:
        context: The context of the run, with a throw-away blob store.
        objective: The options of the objective.
        num_images: The number of images of the set.
        seconds: The number of seconds to measure for.
        hyperparameters: The values of all of its hyperparameters; the default is their defaults.
        replicas: The number of replicas that train in one task.
        supervision: What the objective learns from in addition to the images.
    """
    trainer, blobs = Trainer(context), BlobStore(context.store)
    hyperparameters = hyperparameters or objective.defaults
    probe = blobs.put_array(np.sort(Streams(0).generator("calibrate").permutation(num_images)[:200]).astype(np.int64))
    image_passes = int(hyperparameters["batch_size"])
    key, fresh = TaskKey("calibration", 0, 0, tuple(range(replicas))), (None,) * replicas
    begin = time.perf_counter()
    while True:
        started = time.perf_counter()
        task = TrainTask(key, 0, objective, fresh, hyperparameters, image_passes, None, probe, supervision)
        outcome = trainer.train(task)
        now = time.perf_counter()
        if now - begin >= seconds / 2 and image_passes > hyperparameters["batch_size"]:
            checkpoint = len(blobs.get(outcome.checkpoints[0])) if outcome.checkpoints else 0
            return Calibration(outcome.image_passes / (now - started), checkpoint)
        image_passes *= 2


def choose_stacked(
    resources: ResourcesConfig,
    context: WorkerContext,
    objectives: tuple[ObjectiveOptions, ...],
    num_images: int,
    replicas: int,
    *,
    supervision: SupervisionDigests = NO_SUPERVISION,
    seconds: float = 1.0,
) -> bool:
    """Return whether the replicas of a member train as one stacked model.

    The answer is what `resources.replicas` says, and for ``auto`` what is faster: on a GPU that is measured. On a CPU
    it is the loop, which uses each core by a task of its own and convolves channels-last, where a stack must convolve
    in groups: a stack of five beta-TCVAEs took 1.1 times as long at 32x32 and 2.2 times as long at 64x64, on one
    thread.

    Args:
        resources: The section of the config.
        context: The context of the run, with the device that it trains on.
        objectives: The options of the objectives; the first one is measured.
        num_images: The number of images of the set.
        replicas: The number of replicas of a member.
        supervision: What the objectives learn from in addition to the images.
        seconds: The number of seconds to measure for, where that is needed.

    Raises:
        UserError: A stack is asked for, and an objective cannot be stacked.
    """
    obstacle = next(filter(None, (options.stacking_obstacle for options in objectives)), "")
    if resources.replicas == "stacked" and obstacle:
        raise UserError("resources.replicas=stacked", obstacle, "use resources.replicas=auto")
    if resources.replicas != "auto":
        return resources.replicas == "stacked"
    if replicas == 1 or obstacle or resources.compile or context.device == "cpu":
        return False
    with scratch_store(context, supervision) as scratch:
        looped, stacked = (
            calibrate(
                replace(scratch, stacked=is_stacked),
                objectives[0],
                num_images,
                seconds / 2,
                replicas=replicas,
                supervision=supervision,
            )
            for is_stacked in (False, True)
        )
    return stacked.images_per_second > looped.images_per_second
