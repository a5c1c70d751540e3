"""The sections of a config. An objective declares what it accepts: here its section is a name and free values."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "DataConfig",
    "FinalConfig",
    "ImagesPlace",
    "ObjectiveConfig",
    "PopulationConfig",
    "ReplayConfig",
    "ReplicasMode",
    "ResourcesConfig",
    "RoundsConfig",
    "Section",
    "SegmentationConfig",
    "SupervisionConfig",
    "TrackingConfig",
    "UdrConfig",
]

ReplicasMode = Literal["auto", "stacked", "looped"]
"""How the replicas of a member train; `auto` loops on a CPU and takes what is measured to be faster on a GPU."""

ImagesPlace = Literal["auto", "disk", "object-store"]
"""Where workers find the images; `auto` is the disk, unless the run has nodes that do not see it."""


class Section(BaseModel):
    """Base of every section: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Section):
    """Which images to learn from."""

    name: str = Field("sprites", description="a rendered world by name, or the path of a data file or folder")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the reader, such as size and grid")
    held_out: float = Field(0.0, ge=0, le=0.5, description="share of the images that is never trained on, by index")


class ObjectiveConfig(BaseModel):
    """The objective by name; every further key is one of its settings or hyperparameters.

    A hyperparameter is a number (fixed) or a mapping with low and high (searched within them).
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = "betatcvae"

    @model_validator(mode="before")
    @classmethod
    def _named_alone(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @property
    def values(self) -> dict[str, Any]:
        """The settings and hyperparameters that the user gave."""
        return dict(self.model_extra or {})


class UdrConfig(Section):
    """Unsupervised Disentanglement Ranking (Duan et al. 2020), as the fitness of a population."""

    correlation: Literal["lasso", "spearman"] = "lasso"
    alpha: float = Field(0.1, gt=0, description="lasso: weight of its penalty")
    points: int = Field(1000, ge=20, description="images that are encoded to score a member")
    information_threshold: float = Field(0.01, ge=0, description="nats below which a latent is masked")
    weight: Literal["agreement", "coverage", "matching"] = Field(
        "agreement", description="as published; times the share of latents that found each other; one partner each"
    )
    against: Literal["replicas", "population"] = Field(
        "replicas", description="whose models a model is compared with: its member's, or those of all members"
    )


class PopulationConfig(Section):
    """One population: its size, how long a generation is, and the PBT rule (Jaderberg et al. 2017)."""

    size: int = Field(56, ge=2)
    oversize: int = Field(1, ge=1, description="the first generation has so many times the members; the best stay")
    replicas: int = Field(5, ge=1, description="models per member; UDR needs two or more")
    max_generations: int = Field(20, ge=1)
    images_per_generation: int = Field(480_000, ge=1, description="image passes of one replica in one generation")
    cutoff: float = Field(0.2, ge=0, le=0.5, description="share of members replaced, and share copied from")
    factors: tuple[float, ...] = Field((2.0, 1.2, 0.8, 0.5), min_length=1, description="what a mutation multiplies by")
    exploit: Literal["truncation", "tournament", "gap"] = Field(
        "truncation",
        description="the worst copy the best; each copies a better one that it meets; the worst copy those of the best "
        "who are better by more than the noise of the replicas (with one replica: truncation)",
    )
    significance: float = Field(0.05, gt=0, lt=0.5, description="gap: chance that equal members differ by so much")
    explore: Literal["perturb", "resample", "pb2"] = Field(
        "perturb",
        description="each value times a factor; some values drawn afresh; what a Gaussian process of all generations "
        "so far expects to improve most",
    )
    resample_share: float = Field(0.25, gt=0, le=1, description="resample: share of the values that are drawn afresh")
    mode: Literal["synchronous", "asynchronous"] = Field(
        "synchronous",
        description="members wait for each other after every generation, or go on as their own results come, which "
        "depends on who is faster and is not repeated by the same seed",
    )
    converged_change: float = Field(0.005, ge=0, description="converged when the best score moves less than this ...")
    converged_generations: int = Field(6, ge=1, description="... in each of this many generations in a row")
    give_up_below: float = Field(0.1, description="a converged population whose best score is below this has failed")

    @property
    def first_size(self) -> int:
        """Members of the first generation."""
        return self.size * self.oversize


class SegmentationConfig(Section):
    """How a sorted latent is cut into segments (papers.md 4.5; Estermann et al. 2020)."""

    method: Literal["gaps", "density", "mixture", "quantile"] = "gaps"
    components: int = Field(12, ge=2, description="mixture: most components that are tried")
    quantiles: int = Field(5, ge=2, description="quantile: how many parts of equal size a latent is cut into")
    rings: bool = Field(False, description="whether two latents that lie on a ring are cut by their angle")
    bandwidth: float = Field(0.5, gt=0, description="density: width of the kernel in units of the encoder's noise")
    valley: float = Field(0.2, gt=0, lt=1, description="density: a valley is at most this share of its lower mode")
    edge: float = Field(1 / 15, ge=0, lt=0.5, description="share of the gaps dropped at each end")
    height: float = Field(7.0, gt=0, description="a boundary stands this many deviations above the median gap")
    outlier: float = Field(4.0, gt=0, description="gaps beyond this many deviations do not count into the deviation")
    distance: float = Field(1 / 50, gt=0, lt=1, description="share of the images between two boundaries, at least")
    max_segments: int = Field(5, ge=1, description="best segments of a latent that are combined")
    min_cell: int = Field(5, ge=0, description="a cell of the grid of segments counts if it has more images than this")
    min_images: int = Field(10, ge=2, description="a subset with fewer images ends the leaf run")


class RoundsConfig(Section):
    """The recursion of rPU-VAE."""

    leaf_runs: int = Field(3, ge=0)
    max_depth: int = Field(2, ge=1, description="rounds on subsets below the first, per leaf run")
    information_threshold: float = Field(1.0, gt=0, description="nats above which a latent counts as learned")
    leaf_images_per_generation: int | None = Field(None, ge=1, description="default: max(10000, size of the subset)")
    leaf_max_generations: int | None = Field(None, ge=1, description="default: as in the population")
    segmentation: SegmentationConfig = SegmentationConfig()


class FinalConfig(Section):
    """The last population, one model per member, scored on the labels that were found."""

    size: int = Field(28, ge=2)
    oversize: int = Field(1, ge=1, description="the first generation has so many times the members; the best stay")
    generations: int = Field(17, ge=1)
    images_per_generation: int = Field(480_000, ge=1)
    points: int = Field(10_000, ge=100, description="images of each label level that score a member, at most")
    bins: int = Field(20, ge=2, description="of equal width, that codes and labels are cut into to score a member")
    objective: ObjectiveConfig | None = Field(
        None,
        description="default: the run's; adagvae learns from pairs that agree in what was found, ssdgm from its labels",
    )


class SupervisionConfig(Section):
    """What labels there are to rank by (`pbt-vae`) or to learn from; no other run ever sees one."""

    factors: tuple[str, ...] | None = Field(None, description="the labelled factors; default: all, or few enough")
    share: float = Field(0.05, ge=0, le=1, description="share of the images whose labels are known")
    metric: Literal["mig", "nmig", "dci"] = Field("mig", description="pbt-vae: what members are ranked by")
    points: int = Field(10_000, ge=100, description="pbt-vae: labelled images that score a member, at most")
    bins: int = Field(20, ge=2, description="pbt-vae, mig and nmig: of equal width, that codes are cut into")
    partners: int = Field(8, ge=1, description="images that each image may be paired with")
    differing: int = Field(1, ge=1, description="labelled factors in which the images of a pair need not agree")


class ResourcesConfig(Section):
    """What a run takes of the machine; none means what the machine allows."""

    cpus: int | None = Field(None, ge=1)
    gpus: int | None = Field(None, ge=0)
    gpu_per_worker: float | None = Field(
        None, gt=0, le=1, description="share of a GPU that a worker takes (default: four workers a GPU, a CPU each)"
    )
    rounds_at_once: int = Field(1, ge=1, description="leaf runs that train side by side, each with a fair share")
    memory_gib: float | None = Field(None, gt=0)
    address: str | None = Field(None, description="Ray to join: HOST:PORT, auto, or local for one of the run's own")
    allow_unauthenticated: bool = Field(False, description="join a Ray that anyone who reaches it may use")
    images: ImagesPlace = Field("auto", description="workers read them from disk or from Ray's object store")
    replicas: ReplicasMode = Field("auto", description="a member's replicas train as one stacked model, or one by one")
    precision: Literal["float32", "bf16"] = Field("float32", description="of the networks while they train")
    compile: bool = Field(False, description="whether networks are compiled for training (torch.compile)")

    @model_validator(mode="after")
    def _compilable(self) -> ResourcesConfig:
        if self.compile and self.replicas == "stacked":
            raise ValueError("resources.compile=true needs resources.replicas=looped: a stack is not compiled")
        return self


class TrackingConfig(Section):
    """Where MLflow records the run."""

    uri: str | None = Field(None, description="default: an embedded SQLite store in the run folder")
    enabled: bool = True
    system_metrics: bool = Field(True, description="whether to record how busy the driver's machine is")


class ReplayConfig(Section):
    """What the method `replay` follows; `pbt-disent replay` writes it."""

    source: str = Field(description="where the schedule is from, for people to read")
    schedule: tuple[dict[str, float], ...] = Field(min_length=1, description="all hyperparameters, by generation")
