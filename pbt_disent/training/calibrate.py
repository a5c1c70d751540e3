"""How fast this machine trains a member: a few seconds of the real step on the real images."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.member import Trainer
from pbt_disent.training.tasks import TaskKey, TrainTask, WorkerContext
from pbt_disent.types import Hyperparameters

__all__ = ["Calibration", "calibrate"]


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Args:
        images_per_second: trained by one worker, encoding of the probe included.
        checkpoint: bytes of one checkpoint.
    """

    images_per_second: float
    checkpoint: int


def calibrate(context: WorkerContext, size: int, hyperparameters: Hyperparameters, seconds: float) -> Calibration:
    """Train one replica for about so many seconds, in longer and longer tasks, and time the last one.

    The first task only warms up.

    Args:
        context: of a throw-away blob store.
        size: number of images.
        hyperparameters: a full set.
        seconds: how long to measure.
    """
    trainer, blobs = Trainer(context), BlobStore(context.store)
    probe = blobs.put_array(np.sort(Streams(0).generator("calibrate").permutation(size)[:200]).astype(np.int64))
    images = int(hyperparameters["batch_size"])
    begin = time.perf_counter()
    while True:
        key = TaskKey("calibration", 0, 0, (0,))
        started = time.perf_counter()
        outcome = trainer.train(TrainTask(key, 0, (None,), hyperparameters, images, None, probe))
        now = time.perf_counter()
        if now - begin >= seconds / 2 and images > hyperparameters["batch_size"]:
            checkpoint = len(blobs.get(outcome.checkpoints[0])) if outcome.checkpoints else 0
            return Calibration(outcome.images / (now - started), checkpoint)
        images *= 2
