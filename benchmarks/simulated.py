"""Work that only takes time: what the engine and its peers are timed on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pbt_disent.config import Mutable, PopulationConfig
from pbt_disent.population.engine import Kind, RoundSpec, run_population
from pbt_disent.population.events import Event, GenerationCommitted
from pbt_disent.population.executor import Executor
from pbt_disent.population.journal import RoundJournal
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.lease import Lease
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask, WorkerContext

__all__ = ["SleepingTrainer", "Ticks", "play_population"]

POINTS, LATENTS = 200, 4
SPACE = {"rate": Mutable(default=1.0, low=0.01, high=100.0, log=True)}


class SleepingTrainer:
    """Sleeps for the hyperparameter `seconds`, and leaves a small checkpoint and random codes as a trainer would.

    Args:
        context: of the run.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._blobs = BlobStore(context.store)

    def train(self, task: TrainTask) -> TrainOutcome:
        """Do a task."""
        time.sleep(task.hyperparameters["seconds"])
        codes = Streams(task.seed).generator("codes", str(task.key)).normal(size=(1, POINTS, LATENTS))
        return TrainOutcome(
            task.key,
            "ok",
            (self._blobs.put(f"{task.key} {task.origins}".encode()),),
            self._blobs.put_array(codes.astype(np.float32), durable=False),
            ((1.0,) * LATENTS,),
            ({},),
            task.images,
        )

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """Refuse: nothing here encodes."""
        raise NotImplementedError


class Ticks:
    """An observer that notes when each generation was committed in which every member had trained."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def notify(self, event: Event) -> None:
        """Take note."""
        if isinstance(event, GenerationCommitted) and all(one.status == "ok" for one in event.manifest.members):
            self.times.append(time.monotonic())


def play_population(
    folder: Path,
    executor: Executor,
    members: int,
    generations: int,
    seconds: float,
    *,
    blobs: Path | None = None,
) -> Sequence[float]:
    """Run a population of simulated members, one model each, scored by leaf-MIG, and return when generations ended.

    Args:
        folder: of a run.
        executor: whose trainers are `SleepingTrainer`.
        members: of the population.
        generations: of it.
        seconds: that each member trains in each generation.
        blobs: where the trainers keep theirs; by default in the folder.
    """
    store, lease = BlobStore(blobs or folder / "blobs"), Lease(folder / "lease.json")
    rows = store.put_array(np.arange(POINTS))
    labels = store.put_array(np.arange(POINTS, dtype=np.float64)[:, None] % 7)
    spec = RoundSpec(
        path="0",
        seed=0,
        population=PopulationConfig(
            size=members,
            replicas=1,
            max_generations=generations,
            images_per_generation=1,
            converged_generations=generations + 1,
            cutoff=0.25,
        ),
        kinds=(Kind("sleep", SPACE, {"seconds": seconds}),),
        fitness="leaf_mig",
        options={"leaves": [[{"rows": rows, "labels": labels}]]},
        subset=None,
        set_size=POINTS,
        probe=rows,
    )
    ticks = Ticks()
    try:
        run_population(spec, executor, RoundJournal(folder, store, lease), ticks)
    finally:
        lease.release()
    return ticks.times
