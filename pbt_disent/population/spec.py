"""What a round is: everything that its generations depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pbt_disent.config import PopulationConfig
from pbt_disent.models.contract import ObjectiveOptions
from pbt_disent.population.executor import ProbeLabels
from pbt_disent.population.fitness import Fitness
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.training.tasks import NO_SUPERVISION, SupervisionDigests
from pbt_disent.types import Hyperparameters

__all__ = ["RoundSpec"]


@dataclass(frozen=True)
class RoundSpec:
    """Everything that a round depends on.

    Args:
        path: The path of the round, such as ``0`` or ``0/leaf1/1``.
        seed: The seed of the run.
        population: The size of the population, its rule and its stop conditions.
        objectives: The options of the population's objectives, by the label under which members name theirs; members
            start with one after the other in turn.
        fitness: What members are ranked by.
        subset: The digest of the indices that the round trains on, or None for all images.
        set_size: The number of images that it trains on.
        probe: The digest of the indices that are encoded for scoring.
        data: The images, by name and content.
        labels: The labels of the probe images, for a fitness that uses them.
        supervision: The labels and pairs that objectives learn from.
        together: Whether a task is all replicas of a member, or one of them; that is no part of the identity.
        schedule: The hyperparameters of each generation, for a single member that follows them and nothing else.

    Raises:
        UserError: An objective needs labels or pairs, and there are none.
    """

    path: str
    seed: int
    population: PopulationConfig
    objectives: Mapping[str, ObjectiveOptions]
    fitness: Fitness
    subset: str | None
    set_size: int
    probe: str
    data: DataIdentity
    labels: ProbeLabels = ()
    supervision: SupervisionDigests = NO_SUPERVISION
    together: bool = False
    schedule: tuple[Hyperparameters, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is all that the objectives learn from."""
        for options in self.objectives.values():
            self.supervision.needed_by(options)

    @property
    def identity(self) -> str:
        """The digest of everything but the stop conditions: rounds of one identity share their generations.

        All options of all components count, whether they are known here or not.
        """
        population = self.population.identity()
        population.pop("fitness")
        inputs = {
            "path": self.path,
            "seed": self.seed,
            "population": population,
            "objectives": {label: options.dump() for label, options in self.objectives.items()},
            "fitness": self.fitness.dump(),
            "labels": [[asdict(level) for level in leaf] for leaf in self.labels],
            "images": [self.data.fingerprint, self.subset, self.set_size, self.probe],
            "supervision": asdict(self.supervision),
            "schedule": self.schedule,
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
