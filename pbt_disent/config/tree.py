"""The whole config of a run, and what its sections ask of each other."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field, model_validator

from pbt_disent.config.sections import (
    DataConfig,
    FinalConfig,
    ObjectiveConfig,
    PopulationConfig,
    ReplayConfig,
    ResourcesConfig,
    RoundsConfig,
    Section,
    SupervisionConfig,
    TrackingConfig,
    UdrConfig,
)

__all__ = ["Config"]


class Config(Section):
    """Everything that a run is: the same config and seed give the same result."""

    method: Literal["rpu-vae", "rpu-vae-plus", "pbt-u-vae", "pbt-vae", "random-search", "fixed", "replay"] = Field(
        "rpu-vae"
    )
    seed: int = Field(0, ge=0)
    budget: int | None = Field(None, ge=1, description="image passes of the whole run, at most; default: no limit")
    spend_budget: bool = Field(
        False, description="the last round goes on until the budget is spent, whatever its number of generations"
    )
    data: DataConfig = DataConfig()
    objective: ObjectiveConfig | tuple[ObjectiveConfig, ...] = Field(
        ObjectiveConfig(), description="the objective, or several: members start with one after the other in turn"
    )
    population: PopulationConfig = PopulationConfig()
    udr: UdrConfig = UdrConfig()
    rounds: RoundsConfig = RoundsConfig()
    final: FinalConfig = FinalConfig()
    supervision: SupervisionConfig = SupervisionConfig()
    resources: ResourcesConfig = ResourcesConfig()
    tracking: TrackingConfig = TrackingConfig()
    replay: ReplayConfig | None = None

    @model_validator(mode="after")
    def _budgeted(self) -> Config:
        if self.spend_budget and self.budget is None:
            raise ValueError("spend_budget=true needs a budget")
        return self

    @model_validator(mode="after")
    def _scorable(self) -> Config:
        alone = self.population.replicas < 2 and self.udr.against == "replicas"
        if alone and self.method not in {"pbt-vae", "replay"}:
            raise ValueError("population.replicas must be at least 2: UDR compares the replicas of a member")
        return self

    @model_validator(mode="after")
    def _scheduled(self) -> Config:
        if (self.method == "replay") != (self.replay is not None):
            raise ValueError("replay.schedule is what the method replay follows, and no other: use pbt-disent replay")
        return self

    @model_validator(mode="after")
    def _goes_on_alone(self) -> Config:
        if self.population.mode == "asynchronous":
            if self.udr.against == "population":
                raise ValueError("population.mode must be synchronous where udr.against=population")
            if max(self.population.oversize, self.final.oversize) > 1:
                raise ValueError("population.mode must be synchronous where oversize thins a first generation out")
        return self

    @model_validator(mode="after")
    def _room_for_all(self) -> Config:
        smallest = min(self.population.size, self.final.size)
        if not 1 <= len(self.objectives) <= smallest:
            raise ValueError(f"objective must name 1 to {smallest} objectives, one member each, or more")
        return self

    @property
    def objectives(self) -> tuple[ObjectiveConfig, ...]:
        """The objectives of a population, one or several."""
        return (self.objective,) if isinstance(self.objective, ObjectiveConfig) else self.objective

    def dump(self) -> dict[str, Any]:
        """Return the whole tree as plain values, for YAML and JSON."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved tree (hexadecimal)."""
        return hashlib.sha256(json.dumps(self.dump(), sort_keys=True).encode()).hexdigest()
