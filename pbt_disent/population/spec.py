"""What a round is: everything that its generations depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

from pbt_disent.config import Mutable, PopulationConfig
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.training.tasks import Teaching
from pbt_disent.types import Hyperparameters, Json

__all__ = ["Kind", "RoundSpec"]


@dataclass(frozen=True)
class Kind:
    """One objective of a population, whose members share it until a copy of another kind takes their place.

    Args:
        name: of the objective, with a number behind it where several kinds share one.
        space: the searched hyperparameters.
        fixed: the other hyperparameters.
    """

    name: str
    space: dict[str, Mutable]
    fixed: Hyperparameters


@dataclass(frozen=True)
class RoundSpec:
    """Everything that a round depends on.

    Args:
        path: of the round, such as ``0`` or ``0/leaf1/1``.
        seed: the run's seed.
        population: sizes, rule and stop conditions.
        kinds: the objectives; members start with one after the other in turn.
        fitness: name in the fitness registry, and its `options`.
        subset: digest of the indices that it trains on, or none for all images.
        set_size: how many images that is.
        probe: digest of the indices that are encoded for scoring.
        context: whatever else the training depends on (data, objective, settings), for the identity.
        data: the same images by name, for the record.
        together: whether a task is all replicas of a member, or one of them; that is no part of the identity.
        teaching: what is trained instead of the run's objectives; `kinds` are then its own.
        schedule: the hyperparameters of each generation, for a single member that follows them and nothing else.
    """

    path: str
    seed: int
    population: PopulationConfig
    kinds: tuple[Kind, ...]
    fitness: str
    options: Json
    subset: str | None
    set_size: int
    probe: str
    context: Json = field(default_factory=dict)
    data: DataIdentity | None = None
    together: bool = False
    teaching: Teaching | None = None
    schedule: tuple[Hyperparameters, ...] = ()

    @property
    def identity(self) -> str:
        """Digest of all inputs but the stop conditions: rounds of one identity share their generations."""
        always = {"size", "oversize", "replicas", "images_per_generation", "cutoff", "factors"}
        rule = self.population.model_dump(mode="json", include=always)
        for name in ("exploit", "significance", "explore", "resample_share", "mode"):
            if (value := getattr(self.population, name)) != type(self.population).model_fields[name].default:
                rule[name] = value
        inputs = {
            "path": self.path,
            "seed": self.seed,
            "population": rule,
            "kinds": [
                {
                    "name": kind.name,
                    "space": {name: mutable.declaration() for name, mutable in kind.space.items()},
                    "fixed": kind.fixed,
                }
                for kind in self.kinds
            ],
            "fitness": [self.fitness, self.options],
            "data": [self.subset, self.set_size, self.probe],
            "context": self.context,
            "teaching": None if self.teaching is None else asdict(self.teaching),
            **({"schedule": self.schedule} if self.schedule else {}),
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
