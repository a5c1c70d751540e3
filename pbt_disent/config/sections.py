"""The sections of a config; what can be chosen by name in them is a component (`pbt_disent.registry`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pbt_disent.registry import Choice
from pbt_disent.types import Json

__all__ = [
    "STOP_CONDITION",
    "DataConfig",
    "FinalConfig",
    "ImageStorage",
    "PopulationConfig",
    "ReplayConfig",
    "ReplicasMode",
    "ResourcesConfig",
    "RoundsConfig",
    "Section",
    "SupervisionConfig",
    "TrackingConfig",
]

ReplicasMode = Literal["auto", "stacked", "looped"]
"""How the replicas of a member train; `auto` loops on a CPU and takes what is measured to be faster on a GPU."""

ImageStorage = Literal["auto", "disk", "object-store"]
"""Where workers find the images; `auto` is the disk, unless the run has nodes that do not see it."""

STOP_CONDITION = object()
"""Marks an option that says when a round ends and nothing about the generations before: no part of their identity."""


class Section(BaseModel):
    """Base of every section: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def identity(self) -> Json:
        """Return all options that results depend on, as plain values: every one that is no `STOP_CONDITION`."""
        stops = {name for name, field in type(self).model_fields.items() if STOP_CONDITION in field.metadata}
        return self.model_dump(mode="json", exclude=stops)


class DataConfig(Section):
    """Which images to learn from."""

    name: str = Field("sprites", description="A rendered world by name, or the path of a data file or folder.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the world or the reader, such as size and grid."
    )
    held_out: float = Field(
        0.0, ge=0, le=0.5, description="The share of the images that is never trained on, chosen by index."
    )


class PopulationConfig(Section):
    """One population and its PBT rule (Jaderberg et al. 2017, arXiv 1711.09846)."""

    size: int = Field(56, ge=2, description="The number of members.")
    oversize: int = Field(
        1, ge=1, description="The first generation has this many times the members; the best ones stay."
    )
    replicas: int = Field(5, ge=1, description="The number of models per member; UDR needs two or more.")
    max_generations: Annotated[int, STOP_CONDITION] = Field(20, ge=1, description="The largest number of generations.")
    image_passes_per_generation: int = Field(
        480_000, ge=1, description="The number of image passes of one replica in one generation."
    )
    fitness: Annotated[Any, Choice("fitness", "udr")] = Field(
        "udr",
        validate_default=True,
        description="What members are ranked by; the default is mig for the method pbt-vae and udr for all others.",
    )
    exploit: Annotated[Any, Choice("exploit", "truncation")] = Field(
        "truncation", validate_default=True, description="Which members become copies of which others."
    )
    explore: Annotated[Any, Choice("explore", "perturb")] = Field(
        "perturb", validate_default=True, description="How the hyperparameters of a copy are changed."
    )
    mode: Literal["synchronous", "asynchronous"] = Field(
        "synchronous",
        description="Whether members wait for each other after every generation, or go on as their own results come, "
        "which depends on who is faster and is not repeated by the same seed.",
    )
    converged_change: Annotated[float, STOP_CONDITION] = Field(
        0.005,
        ge=0,
        description="The best score stands still while it changes by less than this from generation to generation.",
    )
    converged_generations: Annotated[int, STOP_CONDITION] = Field(
        6,
        ge=1,
        description="The population has converged when its best score has stood still for so many generations.",
    )
    give_up_below: Annotated[float, STOP_CONDITION] = Field(
        0.1, description="A population that ends with a best score below this has learned nothing."
    )

    @property
    def first_size(self) -> int:
        """The number of members of the first generation."""
        return self.size * self.oversize


class RoundsConfig(Section):
    """The recursion of rPU-VAE (Estermann et al. 2020, arXiv 2010.13527)."""

    leaf_runs: int = Field(3, ge=0, description="The number of leaf runs.")
    max_depth: int = Field(2, ge=1, description="The largest number of rounds on subsets in a leaf run.")
    information_threshold: float = Field(
        1.0, gt=0, description="The information, in nats, above which a latent counts as learned."
    )
    leaf_image_passes_per_generation: int | None = Field(
        None,
        ge=1,
        description="As in the population, for leaf rounds; the default is the size of the subset or 10,000.",
    )
    leaf_max_generations: int | None = Field(
        None, ge=1, description="As in the population, for leaf rounds; the default is the population's."
    )
    segmentation: Annotated[Any, Choice("segmentation", "gaps")] = Field(
        "gaps", validate_default=True, description="How a learned latent is cut into segments."
    )
    rings: bool = Field(False, description="Whether two latents that lie on a ring are cut by their angle.")
    max_segments: int = Field(5, ge=1, description="The number of best segments of a latent that are combined.")
    min_cell_images: int = Field(
        5, ge=0, description="A cell of the grid of segments counts if it has more images than this."
    )
    min_subset_images: int = Field(10, ge=2, description="A subset with fewer images than this ends the leaf run.")


class FinalConfig(Section):
    """The last population, one model per member, ranked by the labels that the leaf runs found."""

    size: int = Field(28, ge=2, description="The number of members.")
    oversize: int = Field(
        1, ge=1, description="The first generation has this many times the members; the best ones stay."
    )
    generations: int = Field(17, ge=1, description="The largest number of generations.")
    image_passes_per_generation: int = Field(
        480_000, ge=1, description="The number of image passes of one model in one generation."
    )
    fitness: Annotated[Any, Choice("fitness", "leaf_mig")] = Field(
        "leaf_mig", validate_default=True, description="What members are ranked by."
    )
    objective: Annotated[Any, Choice("objective", "betatcvae", optional=True)] = Field(
        None,
        description="The objective; the default is the run's. adagvae learns from pairs of images that agree in the "
        "labels that were found, ssdgm from the labels themselves.",
    )


class SupervisionConfig(Section):
    """What labels there are to rank by, or to learn from; no other run ever sees one."""

    factors: tuple[str, ...] | None = Field(
        None, description="The names of the labelled factors; the default is all, or few enough to enumerate."
    )
    share: float = Field(0.05, ge=0, le=1, description="The share of the images whose labels are known.")
    partners: int = Field(8, ge=1, description="The number of images that each image may be paired with.")
    differing: int = Field(
        1, ge=1, description="The number of labelled factors in which the images of a pair need not agree."
    )


class ResourcesConfig(Section):
    """What a run takes of the machine; the default is what the machine allows."""

    cpus: int | None = Field(None, ge=1, description="The number of CPUs, at most.")
    gpus: int | None = Field(None, ge=0, description="The number of GPUs, at most; 0 trains on CPUs.")
    gpu_per_worker: float | None = Field(
        None,
        gt=0,
        le=1,
        description="The share of a GPU that a worker takes; the default is four workers a GPU, if each has a CPU.",
    )
    rounds_at_once: int = Field(
        1, ge=1, description="The number of leaf runs that train side by side, each with a fair share."
    )
    memory_gib: float | None = Field(None, gt=0, description="The memory in GiB, at most.")
    executor: Annotated[Any, Choice("executor", "ray")] = Field(
        "ray", validate_default=True, description="What runs the training tasks."
    )
    address: str | None = Field(
        None, description="The Ray cluster to join: HOST:PORT, auto, or local for one of the run's own."
    )
    allow_unauthenticated: bool = Field(
        False, description="Whether to join a Ray cluster that anyone who reaches it may use."
    )
    images: ImageStorage = Field("auto", description="Where workers read the images: disk or Ray's object store.")
    replicas: ReplicasMode = Field(
        "auto", description="Whether a member's replicas train as one stacked model, or one by one."
    )
    precision: Literal["float32", "bf16"] = Field("float32", description="The precision of the networks in training.")
    compile: bool = Field(False, description="Whether networks are compiled for training (torch.compile).")

    @model_validator(mode="after")
    def _check_compile(self) -> ResourcesConfig:
        if self.compile and self.replicas == "stacked":
            raise ValueError("resources.compile=true needs resources.replicas=looped: a stack is not compiled")
        return self


class TrackingConfig(Section):
    """Where MLflow records the run."""

    uri: str | None = Field(
        None, description="The tracking URI; the default is an embedded SQLite store in the run folder."
    )
    enabled: bool = Field(True, description="Whether the run is recorded.")
    system_metrics: bool = Field(True, description="Whether the load of the driver's machine is recorded.")


class ReplayConfig(Section):
    """What the method `replay` follows; `pbt-disent replay` writes it."""

    source: str = Field(description="Where the schedule comes from, for people to read.")
    schedule: tuple[dict[str, float], ...] = Field(min_length=1, description="All hyperparameters, by generation.")
