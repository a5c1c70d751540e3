"""What every round of a run shares, and how a round's specification is made from it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from pbt_disent.config import Config, PopulationConfig
from pbt_disent.population.engine import Kind, PopulationResult, RoundSpec, run_population
from pbt_disent.population.events import Observer
from pbt_disent.population.executor import Executor
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.rounds.spending import Rate, rate_of_kinds
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.training.tasks import Teaching
from pbt_disent.types import Hyperparameters, IntArray, Json

__all__ = ["RunSetup", "sample"]


def sample(seed: int, indices: IntArray, count: int, *names: str | int) -> IntArray:
    """Draw at most `count` of the indices without replacement, ascending, from the run's stream with these names."""
    if len(indices) <= count:
        return np.sort(indices)
    chosen = Streams(seed).generator(*names).choice(len(indices), size=count, replace=False)
    return np.sort(indices[chosen])


@dataclass(frozen=True)
class RunSetup:
    """A run, ready to execute rounds.

    Args:
        config: the resolved configuration.
        images: indices of the images that may be trained on; none for all.
        size: how many these are.
        kinds: the objectives with their hyperparameters.
        context: what else a result depends on: objective and settings.
        data: the whole set of images.
        shape: (C, H, W) of an image.
        ranking: digest of the int64 labels (N, K) of all images that `pbt-vae` ranks by, -1 where one is not known.
        blobs: where arrays and checkpoints are.
        journal: where generations are committed.
        log: the log of rounds.
        executor: who trains.
        observer: who watches.
        together: whether a task is all replicas of a member, or one of them.
        turn: held where rounds that run side by side must not do the same at a time.
    """

    config: Config
    images: IntArray | None
    size: int
    kinds: tuple[Kind, ...]
    context: Json
    data: DataIdentity
    blobs: BlobStore
    journal: RoundJournal
    log: AppendOnlyLog
    executor: Executor
    observer: Observer
    ranking: str | None = None
    shape: tuple[int, int, int] = (1, 64, 64)
    together: bool = False
    turn: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def all_images(self) -> IntArray:
        """The indices of all images that may be trained on."""
        return np.arange(self.size) if self.images is None else self.images

    @property
    def latents(self) -> int:
        """How many latents a model has at most; no metric takes fewer images than that."""
        return max((int(settings["latents"]) for settings in self.context.get("settings", [])), default=1)

    def record(self, event: str, path: str, **details: object) -> None:
        """Put an event on the log of rounds; the same event of a resumed run is not written twice."""
        with self.turn:
            self.log.append([{"event": event, "path": path, **details}])

    def sample(self, indices: IntArray, count: int, *names: str | int) -> IntArray:
        """Draw at most `count` of the indices without replacement, ascending, from the stream with these names."""
        return sample(self.config.seed, indices, count, *names)

    def rate(self, size: int, taught: tuple[Kind, Teaching] | None = None) -> Rate:
        """Return what a model pays that trains on so many images."""
        if taught is not None:
            return rate_of_kinds(taught[:1], [taught[1].objective], size)
        return rate_of_kinds(self.kinds, [section.name for section in self.config.objectives], size)

    def afford(
        self,
        population: PopulationConfig,
        allowance: int | None,
        size: int,
        *,
        last: bool = False,
        taught: tuple[Kind, Teaching] | None = None,
    ) -> PopulationConfig | None:
        """Return a population with as many generations as its allowance pays; none where it pays not even one.

        Args:
            population: as configured.
            allowance: image passes; none for no limit.
            size: number of images that it trains on.
            last: whether it is the last round, which spends what is left where the config says so.
            taught: what is trained instead of the run's objectives.
        """
        rate = self.rate(size, taught)
        if last and self.config.spend_budget and allowance is not None:
            return rate.spending(population, allowance)
        return rate.within(population, allowance)

    def run(
        self,
        path: str,
        population: PopulationConfig,
        *,
        subset: IntArray | None,
        probe: IntArray,
        fitness: str,
        options: Json,
        taught: tuple[Kind, Teaching] | None = None,
        schedule: tuple[Kind, tuple[Hyperparameters, ...]] | None = None,
    ) -> PopulationResult:
        """Run one population and log its start and end.

        Args:
            path: of the round.
            population: its size and rule.
            subset: indices of the images to train on, or none for all.
            probe: indices of the images that score it.
            fitness: name of the fitness.
            options: of the fitness.
            taught: what to train instead of the run's objectives.
            schedule: the objective of a single member, and the hyperparameters of its generations.
        """
        part = None if subset is None else self.blobs.put_array(subset.astype(np.int64))
        size = self.size if subset is None else len(subset)
        spec = RoundSpec(
            path=path,
            seed=self.config.seed,
            population=population,
            kinds=schedule[:1] if schedule else self.kinds if taught is None else taught[:1],
            fitness=fitness,
            options=options,
            subset=part,
            set_size=size,
            probe=self.blobs.put_array(probe.astype(np.int64)),
            context={"data": self.data.fingerprint, **self.context},
            data=self.data.model_copy(update={"subset": part, "images": size}),
            together=self.together,
            teaching=None if taught is None else taught[1],
            schedule=schedule[1] if schedule else (),
        )
        self.record("started", path, identity=spec.identity, images=spec.set_size, fitness=fitness)
        result = run_population(spec, self.executor, self.journal, self.observer)
        best = result.best
        self.record(
            "finished",
            path,
            identity=spec.identity,
            reason=result.reason,
            generations=result.generations,
            images=result.images,
            best=None
            if best is None
            else {
                "generation": best.generation,
                "member": best.member,
                "replica": best.replica,
                "score": best.score,
                "checkpoint": best.checkpoint,
                "information": list(best.information),
                "hyperparameters": best.hyperparameters,
            },
        )
        return result
