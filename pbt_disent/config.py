"""The configuration of a run: a frozen tree, read from a preset or a YAML file, with single values set by hand.

Unknown keys are errors that name the nearest known one. The resolved tree is written into every run folder and its
hash into everything that the run publishes. What an objective accepts is declared by the objective itself; here its
section is a name and free values, which `pbt_disent.models.resolve` checks.
"""

from __future__ import annotations

import hashlib
import json
import math
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pbt_disent.errors import UserError, nearest

__all__ = [
    "Config",
    "DataConfig",
    "FinalConfig",
    "ImagesPlace",
    "Mutable",
    "PopulationConfig",
    "ReplayConfig",
    "ReplicasMode",
    "ResourcesConfig",
    "RoundsConfig",
    "SupervisionConfig",
    "TrackingConfig",
    "UdrConfig",
    "load_config",
    "preset_names",
]


ReplicasMode = Literal["auto", "stacked", "looped"]
"""How the replicas of a member train; `auto` loops on a CPU and takes what is measured to be faster on a GPU."""

ImagesPlace = Literal["auto", "disk", "object-store"]
"""Where workers find the images; `auto` is the disk, unless the run has nodes that do not see it."""


class Section(BaseModel):
    """Base of every section: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Mutable(Section):
    """One hyperparameter: its default, its bounds, and the scale on which it is drawn and mutated.

    The same declaration makes the first draw, the mutation, the validation and the help text. With `choices` it has
    one of these values alone, ascending, whose places are what is drawn and mutated.
    """

    default: float
    low: float
    high: float
    log: bool = False
    integer: bool = False
    choices: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Mutable:
        if not self.low <= self.default <= self.high:
            raise ValueError(f"must satisfy low <= default <= high, not {self.low} <= {self.default} <= {self.high}")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic scale needs low > 0")
        if self.choices and (sorted(set(self.choices)) != list(self.choices) or self.default not in self.choices):
            raise ValueError("needs choices that ascend, the default among them")
        return self

    def clip(self, value: float) -> float:
        """Return the nearest allowed value: within the bounds, whole where it must be, one of the choices."""
        if self.choices:
            return min(self.choices, key=lambda choice: abs(choice - value))
        clipped = min(max(value, self.low), self.high)
        return float(round(clipped)) if self.integer else clipped

    def at(self, fraction: float) -> float:
        """Return the value at a fraction (0 to 1) of the way from low to high, on this scale."""
        if self.choices:
            return self.choices[min(int(fraction * len(self.choices)), len(self.choices) - 1)]
        if self.log:
            return self.clip(math.exp(math.log(self.low) + fraction * (math.log(self.high) - math.log(self.low))))
        return self.clip(self.low + fraction * (self.high - self.low))

    def place(self, value: float) -> float:
        """Return the fraction (0 to 1) of the way from low to high at which a value is: the inverse of `at`."""
        if self.choices:
            return (self.choices.index(self.clip(value)) + 0.5) / len(self.choices)
        if self.high == self.low:
            return 0.5
        low, high, here = (math.log(one) if self.log else one for one in (self.low, self.high, self.clip(value)))
        return (here - low) / (high - low)

    def declaration(self) -> dict[str, Any]:
        """Return what is declared as plain values, for the identity of what was searched with it."""
        return self.model_dump(mode="json", exclude=None if self.choices else {"choices"})


class DataConfig(Section):
    """Which images to learn from."""

    name: str = Field("sprites", description="a rendered world by name, or the path of a data file or folder")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the reader, such as size and grid")
    held_out: float = Field(0.0, ge=0, le=0.5, description="share of the images that is never trained on, by index")


IN_EVERY_OBJECTIVE = ("latents", "lr", "batch_size")


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


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the package."""
    folder = resources.files("pbt_disent") / "presets"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(source: str | Path | dict[str, Any] | None = None, overrides: list[str] | None = None) -> Config:
    """Read a preset by name or a YAML file by path, then apply overrides.

    Args:
        source: preset name, path of a YAML file, or a whole tree, which is changed; none for the defaults.
        overrides: each ``a.b=c``, the value in YAML. ``objective=NAME`` (or a list of names) keeps the latents,
            learning rate and batch size of the one that it replaces, which every objective has, and nothing else.

    Raises:
        UserError: no such preset or file, broken YAML, an unknown key, or a value out of bounds.
    """
    tree = source if isinstance(source, dict) else {} if source is None else _parse(str(source), _read(source))
    for override in overrides or []:
        _set(tree, override)
    return validate(tree)


def validate(tree: dict[str, Any]) -> Config:
    """Build the config from plain values; the first mistake becomes one `UserError`."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise _explain(error) from None


def _read(source: str | Path) -> str:
    path = Path(source)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UserError(f"config {path}", f"must be a readable YAML file ({reason})", "check the path") from None
    preset = resources.files("pbt_disent") / "presets" / f"{source}.yaml"
    if not preset.is_file():
        raise UserError(
            f"preset {str(source)!r}", "is no known preset and no YAML file", nearest(str(source), preset_names())
        )
    return preset.read_text(encoding="utf-8")


def _parse(name: str, text: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(
            f"config {name}", f"must be valid YAML ({' '.join(str(error).split())})", "mend the file"
        ) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"config {name}", "must be a mapping of sections", "start from a preset")
    return tree


def _set(tree: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise UserError(
            f"--set {override}", "must have the form section.key=value", "for example --set population.size=8"
        )
    node = tree
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if isinstance(child, list):
            rule, remedy = f"is for one of several in {key}, without saying which", f"describe each in {key}=[...]"
            raise UserError(f"--set {override}", rule, remedy)
        if not isinstance(child, dict):
            child = node[key] = {"name": child} if key in {"objective", "data"} else {}
        node = child
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}", "must have a value in YAML", "quote it") from None
    if keys == ["objective"] and isinstance(given := tree.get("objective"), dict):
        kept = {key: given[key] for key in IN_EVERY_OBJECTIVE if key in given}
        several = value if isinstance(value, list) else [value]
        filled = [{"name": one, **kept} if isinstance(one, str) else one for one in several]
        value = filled if isinstance(value, list) else filled[0]
    node[keys[-1]] = value


def _explain(error: ValidationError) -> UserError:
    first = error.errors(include_url=False)[0]
    location = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields(first["loc"][:-1])
        return UserError(f"key {location!r}", "is unknown", nearest(str(first["loc"][-1]), known))
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not location:
        key, _, rule = message.partition(" ")
        return UserError(key, rule, "change it in the config or with --set")
    return UserError(f"{location}={first['input']!r}", message, "change it in the config or with --set")


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys known at a place in the tree."""
    model: type[BaseModel] = Config
    for part in location:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
