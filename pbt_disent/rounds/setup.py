"""What all rounds of a run share, and how a round is specified, run and put on record."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pbt_disent.config import Config, PopulationConfig
from pbt_disent.models.contract import ObjectiveOptions
from pbt_disent.models.networks import ImageShape
from pbt_disent.population.engine import PopulationResult, run_population
from pbt_disent.population.events import Observer
from pbt_disent.population.executor import Executor, ProbeLabels
from pbt_disent.population.fitness import Fitness
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.population.spec import RoundSpec
from pbt_disent.rounds.budget import PassCost, pass_cost
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.training.tasks import SupervisionDigests
from pbt_disent.types import Hyperparameters, IntArray

__all__ = ["RunSetup", "sample"]


def sample(seed: int, indices: IntArray, count: int, *names: str | int) -> IntArray:
    """Draw at most `count` of the indices without replacement, ascending, from the run's stream with these names."""
    if len(indices) <= count:
        return np.sort(indices)
    drawn = Streams(seed).generator(*names).choice(len(indices), size=count, replace=False)
    return np.sort(indices[drawn])


@dataclass(frozen=True)
class RunSetup:
    """A run, ready to execute rounds.

    Args:
        config: The resolved configuration.
        images: The indices of the training images, or None for all.
        num_images: The number of training images.
        objectives: The options of the objectives, by label.
        supervision: The digests of the labels and partners that the objectives learn from.
        data: The identity of the whole set of images.
        image_shape: The shape (C, H, W) of an image.
        ranking: The digest of the int64 labels (N, K) of all images that a labelled fitness ranks by, -1 where there
            is none, or None.
        blobs: The store of arrays and checkpoints.
        journal: The record of all generations.
        log: The log of rounds.
        executor: The executor of the training tasks.
        observer: The observer that is notified of events.
        together: Whether a task trains all replicas of a member, or one of them.
        lock: A lock, held where rounds that run side by side must not do the same thing at a time.
    """

    config: Config
    images: IntArray | None
    num_images: int
    objectives: Mapping[str, ObjectiveOptions]
    supervision: SupervisionDigests
    data: DataIdentity
    image_shape: ImageShape
    blobs: BlobStore
    journal: RoundJournal
    log: AppendOnlyLog
    executor: Executor
    observer: Observer
    ranking: str | None = None
    together: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def all_images(self) -> IntArray:
        """The indices of all images that may be trained on."""
        return np.arange(self.num_images) if self.images is None else self.images

    @property
    def max_latents(self) -> int:
        """The largest number of latents of a model; no metric takes fewer images than that."""
        return max(options.latents for options in self.objectives.values())

    def record(self, event: str, path: str, **details: object) -> None:
        """Put an event on the log of rounds; the same event of a resumed run is not written twice."""
        with self.lock:
            self.log.append([{"event": event, "path": path, **details}])

    def sample(self, indices: IntArray, count: int, *names: str | int) -> IntArray:
        """Draw at most `count` of the indices without replacement, ascending, from the stream with these names."""
        return sample(self.config.seed, indices, count, *names)

    def pass_cost(self, num_images: int, objective: ObjectiveOptions | None = None) -> PassCost:
        """Return what a model pays that trains on so many images, with the run's objectives or with another."""
        return pass_cost(list(self.objectives.values()) if objective is None else [objective], num_images)

    def afford(
        self,
        population: PopulationConfig,
        allowance: int | None,
        num_images: int,
        *,
        last: bool = False,
        objective: ObjectiveOptions | None = None,
    ) -> PopulationConfig | None:
        """Return a population with as many generations as its allowance pays, or None where it pays not even one.

        Args:
            population: The population as configured.
            allowance: The number of image passes that it may pay, or None for no limit.
            num_images: The number of images that it trains on.
            last: Whether it is the last round, which spends what is left where the config says so.
            objective: The objective that it trains instead of the run's objectives.
        """
        cost = self.pass_cost(num_images, objective)
        if last and self.config.spend_budget and allowance is not None:
            return cost.stretch(population, allowance)
        return cost.limit(population, allowance)

    def run(
        self,
        path: str,
        population: PopulationConfig,
        *,
        fitness: Fitness,
        subset: IntArray | None,
        probe: IntArray,
        labels: ProbeLabels = (),
        objectives: Mapping[str, ObjectiveOptions] | None = None,
        supervision: SupervisionDigests | None = None,
        schedule: tuple[Hyperparameters, ...] = (),
    ) -> PopulationResult:
        """Run one population and log its start and end.

        Args:
            path: The path of the round.
            population: The size of the population and its rules.
            fitness: The fitness that ranks the members.
            subset: The indices of the images to train on, or None for all.
            probe: The indices of the images that score it.
            labels: The labels of the probe images.
            objectives: The objectives to train instead of the run's.
            supervision: The digests of the labels and partners that these learn from.
            schedule: The hyperparameters of each generation, for a single member that follows them.
        """
        digest = None if subset is None else self.blobs.put_array(subset.astype(np.int64))
        num_images = self.num_images if subset is None else len(subset)
        spec = RoundSpec(
            path=path,
            seed=self.config.seed,
            population=population,
            objectives=self.objectives if objectives is None else objectives,
            fitness=fitness,
            subset=digest,
            set_size=num_images,
            probe=self.blobs.put_array(probe.astype(np.int64)),
            data=self.data.model_copy(update={"subset": digest, "num_images": num_images}),
            labels=labels,
            supervision=self.supervision if supervision is None else supervision,
            together=self.together,
            schedule=schedule,
        )
        self.record("started", path, identity=spec.identity, num_images=num_images, fitness=fitness.dump())
        result = run_population(spec, self.executor, self.journal, self.observer)
        best = result.best
        self.record(
            "finished",
            path,
            identity=spec.identity,
            reason=result.reason,
            generations=result.generations,
            image_passes=result.image_passes,
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
