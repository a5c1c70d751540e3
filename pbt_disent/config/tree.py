"""The whole config of a run, and the rules between its sections."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, WrapSerializer, model_validator

from pbt_disent.config.sections import (
    DataConfig,
    FinalConfig,
    PopulationConfig,
    ReplayConfig,
    ResourcesConfig,
    RoundsConfig,
    Section,
    SupervisionConfig,
    TrackingConfig,
)
from pbt_disent.registry import Choice, Component, OptionError
from pbt_disent.types import Json

__all__ = ["RECURSIVE", "Config"]

RECURSIVE = ("rpu-vae", "rpu-vae-plus")
"""The methods that recurse."""

_OBJECTIVE = Choice("objective", "betatcvae")


def _objectives(value: Any) -> Any:
    """Return the objectives of a population: one component, or a tuple of several."""
    if not isinstance(value, list | tuple):
        return _OBJECTIVE.validate(value)
    objectives = []
    for index, item in enumerate(value):
        try:
            objectives.append(_OBJECTIVE.validate(item))
        except OptionError as error:
            raise error.within(str(index)) from None
    return tuple(objectives)


def _dump_objectives(value: Any, handler: SerializerFunctionWrapHandler) -> Any:
    del handler
    return value.dump() if isinstance(value, Component) else [objective.dump() for objective in value]


class Config(Section):
    """Everything that a run is: the same config and seed give the same result.

    >>> Config.model_validate({"population": {"exploit": "tournament"}}).population.exploit.name
    'tournament'
    """

    method: Literal["rpu-vae", "rpu-vae-plus", "pbt-u-vae", "pbt-vae", "random-search", "fixed", "replay"] = Field(
        "rpu-vae", description="What is run: how rounds follow each other, and what ranks their members."
    )
    seed: int = Field(0, ge=0, description="The seed of every random stream of the run.")
    budget: int | None = Field(
        None, ge=1, description="The number of image passes of the whole run, at most; the default is no limit."
    )
    spend_budget: bool = Field(
        False,
        description="Whether the last round goes on until the budget is spent, however many generations it takes.",
    )
    data: DataConfig = DataConfig()
    objective: Annotated[Any, BeforeValidator(_objectives), WrapSerializer(_dump_objectives)] = Field(
        "betatcvae",
        validate_default=True,
        description="The objective, or a list of several: members start with one after the other in turn.",
    )
    population: PopulationConfig = Field(default_factory=PopulationConfig)
    rounds: RoundsConfig = Field(default_factory=RoundsConfig)
    final: FinalConfig = Field(default_factory=FinalConfig)
    supervision: SupervisionConfig = SupervisionConfig()
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    tracking: TrackingConfig = TrackingConfig()
    replay: ReplayConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _choose_fitness(cls, tree: Any) -> Any:
        """Rank by labels where the method is the one that has them."""
        if not isinstance(tree, dict) or tree.get("method") != "pbt-vae":
            return tree
        population = tree.get("population", {})
        if not isinstance(population, dict):
            return tree
        fitness = population.get("fitness", {})
        if isinstance(fitness, dict) and "name" not in fitness:
            return {**tree, "population": {**population, "fitness": {"name": "mig", **fitness}}}
        return tree

    @model_validator(mode="after")
    def _check_budget(self) -> Config:
        if self.spend_budget and self.budget is None:
            raise ValueError("spend_budget=true needs a budget")
        return self

    @model_validator(mode="after")
    def _check_fitness(self) -> Config:
        fitness = self.population.fitness
        if self.method == "replay":
            return self
        if fitness.uses_labels and self.method in {*RECURSIVE, "pbt-u-vae"}:
            raise ValueError(f"population.fitness={fitness.name} needs labels, and method {self.method} has none")
        if not fitness.uses_labels and self.method == "pbt-vae":
            raise ValueError(
                f"population.fitness={fitness.name} uses no labels, by which method pbt-vae ranks: say mig, nmig or dci"
            )
        if self.population.replicas < fitness.min_replicas:
            raise ValueError(
                f"population.replicas must be at least {fitness.min_replicas}: {fitness.title} compares the replicas "
                "of a member"
            )
        return self

    @model_validator(mode="after")
    def _check_replay(self) -> Config:
        if (self.method == "replay") != (self.replay is not None):
            raise ValueError("replay.schedule is what the method replay follows, and no other: use pbt-disent replay")
        return self

    @model_validator(mode="after")
    def _check_asynchronous(self) -> Config:
        if self.population.mode == "asynchronous":
            if self.population.fitness.compares_members:
                raise ValueError("population.mode must be synchronous where the fitness compares members")
            if max(self.population.oversize, self.final.oversize) > 1:
                raise ValueError("population.mode must be synchronous where oversize thins a first generation out")
        return self

    @model_validator(mode="after")
    def _check_objectives(self) -> Config:
        smallest = min(self.population.size, self.final.size)
        if not 1 <= len(self.objectives) <= smallest:
            raise ValueError(f"objective must name 1 to {smallest} objectives, one member each, or more")
        return self

    @property
    def objectives(self) -> tuple[Any, ...]:
        """The options of the objectives of a population, one or several."""
        return self.objective if isinstance(self.objective, tuple) else (self.objective,)

    def dump(self) -> Json:
        """Return the whole tree as plain values, for YAML and JSON."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """The SHA-256 of the resolved tree, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.dump(), sort_keys=True).encode()).hexdigest()
