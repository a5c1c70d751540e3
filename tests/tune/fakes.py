"""A trainer that trains nothing, and tasks that tell it what to do instead."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pbt_disent.errors import UserError
from pbt_disent.population.fitness import Fitness, Labels, MemberCodes, MemberScore
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TaskKey, TrainOutcome, TrainTask, WorkerContext
from tests.objectives import options_of


class FakeTrainer:
    """Outcomes are a function of the task. `sleep` takes time; `disk` fails until a second attempt; `raise` fails.

    Every attempt leaves a file named by the process and the task.
    """

    def __init__(self, context: WorkerContext) -> None:
        if not Path(context.images_dir).is_dir():
            raise FileNotFoundError(2, "no such folder", context.images_dir)
        self.blobs = BlobStore(context.store)
        self.attempts = Path(context.images_dir)

    def train(self, task: TrainTask) -> TrainOutcome:
        wanted, member = task.hyperparameters, f"m{task.key.member}"
        earlier = len(list(self.attempts.glob(f"*-{member}-g{task.key.generation}")))
        (self.attempts / f"{os.getpid()}-{member}-g{task.key.generation}").touch()
        time.sleep(wanted.get("sleep", 0.0))
        if wanted.get("raise"):
            raise ValueError("the loss is\n no number")
        if wanted.get("disk") and not earlier:
            raise OSError(28, "No space left on device")
        content = f"{task.key}|{task.origins}|{sorted(wanted.items())}"
        seed = int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "little")
        codes = np.random.default_rng(seed).normal(size=(len(task.key.replicas), 20, 2)).astype(np.float32)
        checkpoint = self.blobs.put(content.encode())
        information = ((1.0, 0.5),) * len(task.key.replicas)
        return TrainOutcome(
            task.key, "ok", (checkpoint,), self.blobs.put_array(codes), information, (), task.image_passes
        )

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        return EncodeOutcome(f"codes of {task.checkpoint}", None, (float(len(self.blobs.get(task.checkpoint))),))


OBJECTIVE = options_of("vae", (1, 32, 32))


def train_tasks(generation: int, members: int, replicas: int = 1, **hyperparameters: float) -> list[TrainTask]:
    return [
        TrainTask(
            TaskKey("0", generation, member, (replica,)),
            1,
            OBJECTIVE,
            (None,),
            dict(hyperparameters),
            10,
            None,
            "probe",
        )
        for member in range(members)
        for replica in range(replicas)
    ]


class RefusingFitness(Fitness):
    """Scores nobody."""

    def score(self, members: Sequence[MemberCodes], labels: Labels) -> list[MemberScore]:
        raise UserError("these members", "cannot be scored", "train others")
