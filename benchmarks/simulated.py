"""Populations that do not train: on Ray with members that sleep, and the driver alone with members that take no time.

What the benchmark times with them is the engine itself, since the work of the members is known, or nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmarks.machine import private_mib
from pbt_disent.config import Hyperparameter, PopulationConfig
from pbt_disent.models.contract import ObjectiveOptions, hyperparameter
from pbt_disent.population.engine import run_population
from pbt_disent.population.events import Event, GenerationCommitted, Phase
from pbt_disent.population.executor import Executor, LabelLevel, ScoreTask
from pbt_disent.population.fitness import MemberScore
from pbt_disent.population.fitness.leaf_mig import LeafMIGFitness
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.population.spec import RoundSpec
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.lease import Lease
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask, WorkerContext

__all__ = [
    "DriverCosts",
    "GenerationTimes",
    "InstantExecutor",
    "SleepingTrainer",
    "run_instantly",
    "run_sleeping_population",
]

POINTS, LATENTS = 200, 4

LOSSES = {"loss": 40.0, "reconstruction": 30.0, "kl": 10.0, "total_correlation": 0.5}
INFORMATION = (3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.01, 0.01, 0.01, 0.01)


class SleepOptions(ObjectiveOptions):
    """The options of members that sleep."""

    name: ClassVar[str] = "sleep"

    seconds: Hyperparameter = hyperparameter(0.0, 0.0, 3600.0, log=False, description="How long a member sleeps.")


class InstantOptions(ObjectiveOptions):
    """The search space of a beta-TCVAE's population."""

    name: ClassVar[str] = "instant"

    lr: Hyperparameter = hyperparameter(1e-3, 1e-5, 1e-1, description="The learning rate.")
    beta: Hyperparameter = hyperparameter(4.0, 1.0, 100.0, description="The weight of the total correlation.")


class SleepingTrainer:
    """A trainer that sleeps for the hyperparameter `seconds`, and stores a small checkpoint and random codes.

    Args:
        context: The context of the run's workers.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._blobs = BlobStore(context.store)

    def train(self, task: TrainTask) -> TrainOutcome:
        """Sleep, and return what a trainer would."""
        time.sleep(task.hyperparameters["seconds"])
        codes = Streams(task.seed).generator("codes", str(task.key)).normal(size=(1, POINTS, LATENTS))
        return TrainOutcome(
            task.key,
            "ok",
            (self._blobs.put(f"{task.key} {task.origins}".encode()),),
            self._blobs.put_array(codes.astype(np.float32), durable=False),
            ((1.0,) * LATENTS,),
            ({},),
            task.image_passes,
        )

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """Raise NotImplementedError: nothing encodes in the benchmark."""
        raise NotImplementedError


class GenerationTimes:
    """An observer that records when each generation was committed in which every member had trained.

    Attributes:
        times: The times, on the monotonic clock.
    """

    def __init__(self) -> None:
        self.times: list[float] = []

    def notify(self, event: Event) -> None:
        """Record the time of a commit."""
        if isinstance(event, GenerationCommitted) and all(member.status == "ok" for member in event.manifest.members):
            self.times.append(time.monotonic())


def run_sleeping_population(
    folder: Path,
    executor: Executor,
    members: int,
    generations: int,
    seconds: float,
    *,
    blobs: Path | None = None,
) -> Sequence[float]:
    """Run a population of sleeping members, one model each, scored by leaf-MIG, and return when generations ended.

    Args:
        folder: The folder of the run.
        executor: An executor whose trainers are `SleepingTrainer`.
        members: The number of members.
        generations: The number of generations.
        seconds: The seconds that each member sleeps in each generation.
        blobs: The folder in which the trainers store theirs; by default one in the folder of the run.
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
            image_passes_per_generation=1,
            converged_generations=generations + 1,
            exploit={"cutoff": 0.25},
        ),
        objectives={"sleep": SleepOptions.model_validate({"seconds": seconds})},
        fitness=LeafMIGFitness(),
        labels=((LabelLevel(rows, labels),),),
        subset=None,
        set_size=POINTS,
        probe=rows,
        data=DataIdentity(name="none", fingerprint="0" * 64, subset=None, num_images=POINTS),
    )
    observer = GenerationTimes()
    try:
        run_population(spec, executor, RoundJournal(folder, store, lease), observer)
    finally:
        lease.release()
    return observer.times


class InstantExecutor:
    """An executor whose members train and score in no time, so that all time is the driver's.

    Args:
        blobs: The folder of the run's blobs, in which checkpoints and codes are empty files for the driver to delete;
            None if they are names without files.

    Attributes:
        seconds: The time spent in the executor, which is not the driver's.
    """

    workers = 1

    def __init__(self, blobs: Path | None) -> None:
        self.seconds = 0.0
        self._blobs = blobs
        if blobs is not None:
            for number in range(256):
                (blobs / f"{number:02x}").mkdir(parents=True, exist_ok=True)

    def train(self, tasks: Sequence[TrainTask], on_done: Callable[[TrainOutcome], None]) -> list[TrainOutcome]:
        """See `Executor.train`."""
        start = time.perf_counter()
        outcomes = []
        for task in tasks:
            checkpoint, codes = self._file(f"{task.key}"), self._file(f"codes of {task.key}")
            outcomes.append(
                TrainOutcome(task.key, "ok", (checkpoint,), codes, (INFORMATION,), (dict(LOSSES),), task.image_passes)
            )
        self.seconds += time.perf_counter() - start
        for outcome in outcomes:
            on_done(outcome)
        return outcomes

    def score(self, task: ScoreTask) -> list[MemberScore]:
        """See `Executor.score`."""
        start = time.perf_counter()
        draws = Streams(0).generator("instant", task.generation).random((len(task.members), len(INFORMATION)))
        scores = [
            MemberScore(member.member, float(row[0]), tuple(row[: len(member.information)].tolist()))
            for member, row in zip(task.members, draws, strict=True)
        ]
        self.seconds += time.perf_counter() - start
        return scores

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """Raise NotImplementedError: nothing encodes in the benchmark."""
        raise NotImplementedError

    def stop(self) -> None:
        """Do nothing: the executor holds no resources."""

    def _file(self, name: str) -> str:
        digest = hashlib.sha256(name.encode()).hexdigest()
        if self._blobs is not None:
            (self._blobs / digest[:2] / digest[2:]).touch()
        return digest


@dataclass
class DriverCosts:
    """An observer that records the time and memory of the driver after each generation.

    Args:
        executor: The executor whose own time is subtracted.
        watch_memory: Whether to read the memory after each generation.

    Attributes:
        seconds: The driver's time, generation by generation.
        decision_seconds: The time between the last score and the decision who goes on, generation by generation.
        mib: The private memory of this process after each generation, where that is asked for.
        replaced: The number of members that were replaced, over all generations.
    """

    executor: InstantExecutor
    watch_memory: bool = False
    seconds: list[float] = field(default_factory=list)
    decision_seconds: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)
    replaced: int = 0

    def __post_init__(self) -> None:
        self._before = self._scored = time.perf_counter()

    def notify(self, event: Event) -> None:
        """Record the time since the last event."""
        if isinstance(event, Phase) and event.name == "scored":
            self._scored = time.perf_counter()
        elif isinstance(event, Phase) and event.name == "decided":
            self.decision_seconds.append(time.perf_counter() - self._scored)
        elif isinstance(event, GenerationCommitted):
            now = time.perf_counter()
            self.seconds.append(now - self._before - self.executor.seconds)
            self.executor.seconds = 0.0
            self.replaced += sum(plan.operation != "continue" for plan in event.manifest.next)
            if self.watch_memory:
                self.mib.append(private_mib())
            self._before = time.perf_counter()


def run_instantly(
    folder: Path, members: int, generations: int, *, files: bool = False, watch_memory: bool = False
) -> DriverCosts:
    """Run a population of members that train in no time, and return what it cost the driver.

    Args:
        folder: The folder of the run, which is empty.
        members: The number of members.
        generations: The number of generations.
        files: Whether checkpoints and codes are files.
        watch_memory: Whether to read the memory after each generation.
    """
    executor, lease = InstantExecutor(folder / "blobs" if files else None), Lease(folder / "lease.json")
    spec = RoundSpec(
        path="0",
        seed=0,
        population=PopulationConfig(
            size=members,
            replicas=1,
            max_generations=generations,
            image_passes_per_generation=1000,
            converged_generations=generations + 1,
        ),
        objectives={"instant": InstantOptions()},
        fitness=UDRFitness(),
        subset=None,
        set_size=1000,
        probe="0" * 64,
        data=DataIdentity(name="none", fingerprint="0" * 64, subset=None, num_images=1000),
    )
    journal = RoundJournal(folder, BlobStore(folder / "blobs"), lease)
    costs = DriverCosts(executor, watch_memory)
    try:
        run_population(spec, executor, journal, costs)
    finally:
        lease.release()
    return costs
