"""The driver on its own: an executor whose members train and score in no time, so that all time is the driver's."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.memory import private_mib
from pbt_disent.config import Mutable, PopulationConfig
from pbt_disent.population.engine import Kind, RoundSpec, run_population
from pbt_disent.population.events import Event, GenerationCommitted, Phase
from pbt_disent.population.executor import ScoreTask
from pbt_disent.population.fitness import MemberScore
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import Manifest
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.lease import Lease
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask

__all__ = ["SPACE", "InstantExecutor", "Played", "play_instantly"]

SPACE = {
    "lr": Mutable(default=1e-3, low=1e-5, high=1e-1, log=True),
    "beta": Mutable(default=4.0, low=1.0, high=100.0, log=True),
    "batch_size": Mutable(default=64, low=16, high=1024, log=True, integer=True),
}
"""What a beta-TCVAE's population searches."""
LOSSES = {"loss": 40.0, "reconstruction": 30.0, "kl": 10.0, "total_correlation": 0.5}
INFORMATION = (3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.01, 0.01, 0.01, 0.01)


class InstantExecutor:
    """Implements `pbt_disent.population.executor.Executor`.

    Args:
        blobs: folder of the run's blobs; there checkpoints and codes are empty files, for the driver to delete. None:
            they are digests of nothing.

    Attributes:
        seconds: spent in here, which is not the driver's time.
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
        begun = time.perf_counter()
        outcomes = []
        for task in tasks:
            checkpoint, codes = self._file(f"{task.key}"), self._file(f"codes of {task.key}")
            outcomes.append(
                TrainOutcome(task.key, "ok", (checkpoint,), codes, (INFORMATION,), (dict(LOSSES),), task.images)
            )
        self.seconds += time.perf_counter() - begun
        for outcome in outcomes:
            on_done(outcome)
        return outcomes

    def score(self, task: ScoreTask) -> list[MemberScore]:
        """See `Executor.score`."""
        begun = time.perf_counter()
        drawn = Streams(0).generator("instant", task.generation).random((len(task.members), len(INFORMATION)))
        scores = [
            MemberScore(one.member, float(row[0]), tuple(row[: len(one.information)].tolist()))
            for one, row in zip(task.members, drawn, strict=True)
        ]
        self.seconds += time.perf_counter() - begun
        return scores

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """Refuse: nothing here encodes."""
        raise NotImplementedError

    def stop(self) -> None:
        """Do nothing: nothing here lasts."""

    def _file(self, name: str) -> str:
        digest = hashlib.sha256(name.encode()).hexdigest()
        if self._blobs is not None:
            (self._blobs / digest[:2] / digest[2:]).touch()
        return digest


@dataclass
class Played:
    """An observer that notes, after each generation, what the driver has spent and holds.

    Attributes:
        seconds: of the driver, generation by generation.
        decisions: seconds between the last score and the decision who goes on, generation by generation.
        mib: private memory of this process after each generation, where that is wanted.
        last: the manifest of the last generation.
        replaced: members that were replaced, over all generations.
    """

    executor: InstantExecutor
    watch_memory: bool = False
    seconds: list[float] = field(default_factory=list)
    decisions: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)
    last: Manifest | None = None
    replaced: int = 0

    def __post_init__(self) -> None:
        self._before = self._scored = time.perf_counter()

    def notify(self, event: Event) -> None:
        """Take note."""
        if isinstance(event, Phase) and event.name == "scored":
            self._scored = time.perf_counter()
        elif isinstance(event, Phase) and event.name == "decided":
            self.decisions.append(time.perf_counter() - self._scored)
        elif isinstance(event, GenerationCommitted):
            now = time.perf_counter()
            self.seconds.append(now - self._before - self.executor.seconds)
            self.executor.seconds = 0.0
            self.last = event.manifest
            self.replaced += sum(one.operation != "continue" for one in event.manifest.next)
            if self.watch_memory:
                self.mib.append(private_mib())
            self._before = time.perf_counter()


def play_instantly(
    folder: Path, members: int, generations: int, *, files: bool = False, watch_memory: bool = False
) -> Played:
    """Run a population of members that train in no time, and return what it cost the driver.

    Args:
        folder: of a run, empty.
        members: of the population.
        generations: of it.
        files: whether checkpoints and codes are files.
        watch_memory: whether to read the memory after each generation.
    """
    executor, lease = InstantExecutor(folder / "blobs" if files else None), Lease(folder / "lease.json")
    spec = RoundSpec(
        path="0",
        seed=0,
        population=PopulationConfig(
            size=members,
            replicas=1,
            max_generations=generations,
            images_per_generation=1000,
            converged_generations=generations + 1,
        ),
        kinds=(Kind("betatcvae", SPACE, {"anneal": 0.0}),),
        fitness="udr",
        options={},
        subset=None,
        set_size=1000,
        probe="0" * 64,
    )
    journal = RoundJournal(folder, BlobStore(folder / "blobs"), lease)
    played = Played(executor, watch_memory)
    try:
        run_population(spec, executor, journal, played)
    finally:
        lease.release()
    return played
