"""An executor that trains nothing: outcomes are a function of the task, scores of the hyperparameters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from pbt_disent.config import Hyperparameter, PopulationConfig
from pbt_disent.models.contract import ObjectiveOptions, hyperparameter
from pbt_disent.population.events import Event, Phase
from pbt_disent.population.executor import OnDone, ScoreTask
from pbt_disent.population.fitness import MemberScore
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.population.spec import RoundSpec
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.lease import Lease
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TaskKey, TrainOutcome, TrainTask

Outcome = Callable[[TrainTask], TrainOutcome | None]


class FakeOptions(ObjectiveOptions):
    """An objective that has one searched hyperparameter, and no learning rate."""

    name: ClassVar[str] = "fake"

    batch_size: Hyperparameter = hyperparameter(8, 8, 8, integer=True, description="The size of a batch.")
    x: Hyperparameter = hyperparameter(1.0, 0.01, 100.0, description="What the score of a member depends on.")

    @property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        """All hyperparameters but the learning rate."""
        return {name: declared for name, declared in super().hyperparameters.items() if name != "lr"}


class OtherOptions(FakeOptions):
    """An objective with one more hyperparameter, which is searched on a linear scale."""

    name: ClassVar[str] = "other"

    batch_size: Hyperparameter = hyperparameter(16, 16, 16, integer=True, description="The size of a batch.")
    y: Hyperparameter = hyperparameter(2, 1, 4, log=False, description="Nothing depends on it.")


class FakeExecutor:
    """Checkpoints are digests of the task; the score of a member is highest where x is 5.

    Args:
        blobs: where they go.
        special: gives another outcome for some tasks.
    """

    workers = 1

    def __init__(self, blobs: BlobStore, special: Outcome = lambda task: None) -> None:
        self.blobs, self.special = blobs, special
        self.tasks: list[TrainTask] = []
        self._scores: dict[str, float] = {}

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        outcomes = [self._train(task) for task in tasks]
        for outcome in outcomes:
            on_done(outcome)
        return outcomes

    def _train(self, task: TrainTask) -> TrainOutcome:
        self.tasks.append(task)
        special = self.special(task)
        if special is not None:
            return special
        for origin in task.origins:
            assert origin is None or origin in self.blobs, f"{task.key} starts from a checkpoint that was collected"
        content = f"{task.key}|{task.origins}|{sorted(task.hyperparameters.items())}"
        checkpoint, codes = self.blobs.put(content.encode()), self.blobs.put(b"codes" + content.encode())
        noise = int(hashlib.sha256(content.encode()).hexdigest()[:4], 16) / 0xFFFF
        x = task.hyperparameters["x"]
        self._scores[codes] = 1 / (1 + abs(x - 5)) + 0.01 * noise
        return TrainOutcome(task.key, "ok", (checkpoint,), codes, ((1.0, 0.0),), ({"loss": x},), task.image_passes)

    def score(self, task: ScoreTask) -> list[MemberScore]:
        return [
            MemberScore(member.member, sum(values) / len(values), values)
            for member in task.members
            if (values := tuple(self._scores[digest] for digest in member.codes))
        ]

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        raise AssertionError("no round here encodes")

    def stop(self) -> None:
        raise AssertionError("nobody stops this")


class Crash(BaseException):
    """Stands for the death of the process: nothing may catch it."""


class Watch:
    """Notes every event, and dies at a given phase.

    Args:
        die_at: generation and name of the phase.
    """

    def __init__(self, die_at: tuple[int, str] | None = None) -> None:
        self.events: list[Event] = []
        self._die_at = die_at

    def notify(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Phase) and (event.generation, event.name) == self._die_at:
            raise Crash


DATA = DataIdentity(name="nothing", fingerprint="f" * 64, subset=None, num_images=100)


def spec(
    path: str = "0", *, seed: int = 3, size: int = 6, generations: int = 4, cutoff: float = 0.2, **more: object
) -> RoundSpec:
    population = PopulationConfig.model_validate(
        {
            "size": size,
            "replicas": 2,
            "max_generations": generations,
            "image_passes_per_generation": 10,
            "converged_generations": 50,
            "exploit": {"cutoff": cutoff},
            **more,
        }
    )
    objectives = {"fake": FakeOptions()}
    return RoundSpec(path, seed, population, objectives, UDRFitness(), None, 100, "0" * 64, DATA)


def journal(folder: Path) -> tuple[RoundJournal, BlobStore, Lease]:
    lease = Lease(folder / "lease.json")
    blobs = BlobStore(folder / "blobs")
    return RoundJournal(folder, blobs, lease), blobs, lease


def manifests(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("generation-*.json"))}


def failed(task: TrainTask, status: str = "failed") -> TrainOutcome:
    return TrainOutcome(
        TaskKey(task.key.round, task.key.generation, task.key.member, task.key.replicas),
        "nan" if status == "nan" else "failed",
        error=None if status == "nan" else "RuntimeError: made to fail",
    )
