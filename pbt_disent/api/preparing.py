"""A run that is ready to be executed: config, data and objectives fit each other, and the images lie on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pbt_disent.config import RECURSIVE, Config, load_config
from pbt_disent.data import load
from pbt_disent.data.base import ImageData, ProgressCallback
from pbt_disent.data.selection import split
from pbt_disent.data.storage import StoredImages, materialise
from pbt_disent.errors import UserError
from pbt_disent.models import ObjectiveOptions
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.rounds.budget import check_budget
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.training.calibrate import choose_stacked
from pbt_disent.training.supervision import labelled_factors, ranking_labels, store_supervision, with_classes
from pbt_disent.training.tasks import NO_SUPERVISION, SupervisionDigests, WorkerContext
from pbt_disent.types import IntArray, Json

__all__ = ["PreparedRun", "check", "extend", "objective_labels", "open_data", "prepare"]

EXTENDABLE = ("population.max_generations", "rounds.leaf_max_generations", "final.generations")
CHANGEABLE = ("resources.", "tracking.")


@dataclass(frozen=True)
class PreparedRun:
    """A run whose images lie on disk and whose objectives are checked.

    Args:
        folder: The folder of the run.
        config: The resolved config.
        data: The images with their factors, if there are any; true factors are for evaluation only.
        images: The same images, memory-mapped, without factors.
        objectives: The options of the objectives, resolved; several in a mixed population.
        device: The device that workers train on, ``cpu`` or ``cuda``.
        supervision: The digests of the labels and partners that the objectives learn from.
        stacked: Whether the replicas of a member train as one model.
    """

    folder: RunFolder
    config: Config
    data: ImageData
    images: StoredImages
    objectives: tuple[ObjectiveOptions, ...]
    device: str = "cpu"
    supervision: SupervisionDigests = NO_SUPERVISION
    stacked: bool = False

    @property
    def objectives_by_label(self) -> Mapping[str, ObjectiveOptions]:
        """The objectives by the labels that populations give them."""
        labels = objective_labels([options.name for options in self.objectives])
        fixed = self.config.method == "fixed"
        return {
            label: options.with_defaults() if fixed else options
            for label, options in zip(labels, self.objectives, strict=True)
        }

    @property
    def identity(self) -> DataIdentity:
        """The identity of the whole set of images, held-out ones included."""
        return DataIdentity(
            name=self.data.name, fingerprint=self.data.fingerprint, subset=None, num_images=len(self.images)
        )

    @property
    def training_images(self) -> IntArray | None:
        """The indices of the images that are trained on, or None for all."""
        return split(len(self.images), self.config.data.held_out)[0] if self.config.data.held_out else None

    @property
    def held_out(self) -> IntArray | None:
        """The indices of the images that are never trained on, or None where there are none."""
        return split(len(self.images), self.config.data.held_out)[1] if self.config.data.held_out else None

    @property
    def ranking(self) -> str | None:
        """The digest of the labels that members are ranked by, or None where they are ranked without labels."""
        if not self.config.population.fitness.uses_labels:
            return None
        return ranking_labels(self.config.supervision, self.data, self.training_images, BlobStore(self.folder.blobs))

    @property
    def evaluation_images(self) -> IntArray | None:
        """The indices of the images that true factors are compared on, if possible neither trained on nor ranked by."""
        if self.held_out is not None or self.ranking is None or self.config.supervision.share == 1:
            return self.held_out
        labels = np.asarray(BlobStore(self.folder.blobs).get_array(self.ranking), dtype=np.int64)
        return np.flatnonzero((labels < 0).all(axis=1))

    @property
    def supervision_summary(self) -> str:
        """One line on the labels that the run ranks by or learns from; empty where it sees images alone."""
        config, fitness = self.config.supervision, self.config.population.fitness
        learns_labels, learns_pairs = self.supervision.labels is not None, self.supervision.partners is not None
        if not (fitness.uses_labels or learns_labels or learns_pairs):
            return ""
        columns = labelled_factors(config, self.data, enumerated=learns_labels)
        names = ", ".join(self.data.factor_names[column] for column in columns)
        if fitness.uses_labels:
            return f"ranks by {fitness.name} on the labels of {config.share:.0%} of the images: {names}"
        if learns_labels:
            return f"learns from the labels of {config.share:.0%} of the images: {names}"
        return f"learns from pairs that agree in all but {config.differing} of: {names}"

    @property
    def together(self) -> bool:
        """Whether a task is all replicas of a member: stacked, or side by side on a GPU (`training.gpu`)."""
        return self.stacked or self.device != "cpu"

    @property
    def context(self) -> WorkerContext:
        """The context that workers are started with."""
        return WorkerContext(
            store=self.folder.blobs,
            images_dir=str(self.images.folder),
            device=self.device,
            stacked=self.stacked,
            bf16=self.config.resources.precision == "bf16",
            compiled=self.config.resources.compile,
        )


def objective_labels(names: Sequence[str]) -> list[str]:
    """Return the labels of the objectives of a population: their names, numbered where a name comes more than once.

    >>> objective_labels(["vae", "betavae", "vae"])
    ['vae-1', 'betavae', 'vae-2']
    """
    return [
        name if names.count(name) == 1 else f"{name}-{names[:index].count(name) + 1}"
        for index, name in enumerate(names)
    ]


def open_data(config: Config, progress: ProgressCallback | None = None, **options: Any) -> ImageData:
    """Return the images that a config names, with all that is known of them.

    Args:
        config: The config of the run.
        progress: A function that is called with the images done and the images in all, as by `pbt_disent.data.load`.
        **options: Options of the data that replace those of the config.

    Raises:
        UserError: The data cannot be read.
    """
    return load(config.data.name, progress, **{**config.data.options, **options})


def check(config: Config, progress: ProgressCallback | None = None) -> tuple[ImageData, tuple[ObjectiveOptions, ...]]:
    """Open the data and check the objectives, the labels and the budget against it, before anything is written.

    Args:
        config: The config of the run.
        progress: A function that is called with the images done and the images in all, as by `pbt_disent.data.load`.

    Returns:
        The images, and the options of the objectives with everything filled in that depends on them.

    Raises:
        UserError: The data cannot be read or are too few, or an objective, its labels or the budget do not fit them.
    """
    data = open_data(config, progress)
    if len(data) < 2:
        raise UserError(f"data {config.data.name}", f"must have at least 2 images, not {len(data)}", "add images")
    objectives = tuple(
        with_classes(options, config.supervision, data).resolve(data.shape) for options in config.objectives
    )
    final = config.final.objective
    if final is not None:  # its classes are counted only once there are labels
        final = (final if getattr(final, "classes", ()) else final.with_classes([2])).resolve(data.shape)
    if config.population.fitness.uses_labels:
        labelled_factors(config.supervision, data, enumerated=False)
    num_images = len(split(len(data), config.data.held_out)[0]) if config.data.held_out else len(data)
    _check_num_images(config, num_images, [*objectives, *([] if final is None else [final])])
    check_budget(config, num_images)
    return data, objectives


def _check_num_images(config: Config, num_images: int, objectives: Sequence[ObjectiveOptions]) -> None:
    """Check that models can be ranked by so many images: no score has a meaning on fewer points than latents."""
    min_points = config.population.fitness.min_points
    if config.method in RECURSIVE:
        min_points = max(min_points, config.final.fitness.min_points)
    min_images = max(min_points, *(options.latents for options in objectives))
    if num_images < min_images:
        raise UserError(
            f"data {config.data.name}",
            f"has {num_images} images to train on, where at least {min_images} are needed to rank models",
            "add images, or lower objective.latents" if min_images > min_points else "add images",
        )


def prepare(folder: RunFolder, *, progress: ProgressCallback | None = None, device: str = "cpu") -> PreparedRun:
    """Read or render the images into the memory-mapped store that all runs in the folder beside share, and check all.

    Args:
        folder: The folder of the run.
        progress: A function that is called with the images done and the images in all.
        device: The device to train on, ``cpu`` or ``cuda``.

    Raises:
        UserError: The data cannot be read, or an objective does not fit it.
    """
    config = folder.config()
    data, objectives = check(config, progress)
    images = materialise(data, folder.path.parent / ".images" / data.fingerprint[:16], progress)
    folder.describe(
        data={"name": data.name, "fingerprint": data.fingerprint, "shape": list(data.shape), "num_images": len(data)}
    )
    prepared = PreparedRun(folder, config, data, images, objectives, device)
    blobs = BlobStore(folder.blobs)
    supervision = store_supervision(objectives, config.supervision, data, prepared.training_images, blobs)
    prepared = replace(prepared, supervision=supervision)
    return replace(prepared, stacked=_is_stacked(prepared))


def _is_stacked(prepared: PreparedRun) -> bool:
    """Return whether replicas train stacked. A run keeps to what was decided when it was first prepared."""
    folder, resources = prepared.folder, prepared.config.resources
    recorded = folder.description().get("replicas")
    if resources.replicas == "auto" and recorded is not None:
        return bool(recorded == "stacked")
    stacked = choose_stacked(
        resources,
        prepared.context,
        prepared.objectives,
        len(prepared.images),
        prepared.config.population.replicas,
        supervision=prepared.supervision,
    )
    folder.describe(replicas="stacked" if stacked else "looped")
    return stacked


def extend(folder: RunFolder, overrides: list[str]) -> Config:
    """Change a run's config before it is resumed, where that cannot change what is on record.

    Numbers of generations may grow; resources and tracking may change.

    Raises:
        UserError: Another value was changed.
    """
    before = folder.config()
    if not overrides:
        return before
    after = load_config(folder.path / "config.yaml", overrides)
    old, new = _flat(before.dump()), _flat(after.dump())
    for key in [*sorted(new), *sorted(old.keys() - new.keys())]:
        if old.get(key) == new.get(key) or key.startswith(CHANGEABLE):
            continue
        option = f"--set {key}={new.get(key)}"
        if key not in EXTENDABLE:
            raise UserError(option, "may not change in a resumed run", "start a new run with it")
        if old.get(key) is not None and (new.get(key) is None or new[key] < old[key]):
            raise UserError(option, f"may only grow beyond {old[key]}", "start a new run with it")
    folder.write_config(after)
    folder.describe(config_digest=after.digest)
    return after


def _flat(tree: Json, prefix: str = "") -> Json:
    flat: Json = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
