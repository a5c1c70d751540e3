"""A run that is ready to be executed: its images lie on disk, its objectives are checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pbt_disent.api.checking import check
from pbt_disent.config import Config
from pbt_disent.data.base import ImageData, ProgressCallback
from pbt_disent.data.selection import split
from pbt_disent.data.storage import StoredImages, materialise
from pbt_disent.models import ResolvedObjective
from pbt_disent.population.engine import Kind
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.training.calibrate import choose_stacked
from pbt_disent.training.given import given_to, labelled_factors, ranking_labels
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.types import IntArray

__all__ = ["Prepared", "kind_labels", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """A run whose images lie on disk and whose objective is checked.

    Args:
        folder: of the run.
        config: resolved.
        data: the images with all that is known of them; true factors are for evaluation only.
        images: the same images, memory-mapped, without factors.
        objectives: complete and checked; several in a mixed population.
        device: what workers train on.
        given: digests of the labels and partners that the objective is told, by their names in `WorkerContext`.
        stacked: whether the replicas of a member train as one model.
    """

    folder: RunFolder
    config: Config
    data: ImageData
    images: StoredImages
    objectives: tuple[ResolvedObjective, ...]
    device: str = "cpu"
    given: dict[str, str] = field(default_factory=dict)
    stacked: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The objectives as the populations know them."""
        labels = kind_labels([one.name for one in self.objectives])
        kinds = []
        for label, one in zip(labels, self.objectives, strict=True):
            defaults = one.complete({key: mutable.default for key, mutable in one.space.items()})
            fixed = self.config.method == "fixed"
            kinds.append(Kind(label, {}, defaults) if fixed else Kind(label, one.space, one.fixed))
        return tuple(kinds)

    @property
    def identity(self) -> DataIdentity:
        """The whole set of images, held-out ones included."""
        return DataIdentity(
            name=self.data.name, fingerprint=self.data.fingerprint, subset=None, images=len(self.images)
        )

    @property
    def training(self) -> IntArray | None:
        """Indices of the images that are trained on; none for all."""
        return split(len(self.images), self.config.data.held_out)[0] if self.config.data.held_out else None

    @property
    def held_out(self) -> IntArray | None:
        """Indices of the images that are never trained on; none where there are none."""
        return split(len(self.images), self.config.data.held_out)[1] if self.config.data.held_out else None

    @property
    def ranking(self) -> str | None:
        """Digest of the labels that members are ranked by; none where they are ranked without labels."""
        if self.config.method != "pbt-vae":
            return None
        return ranking_labels(self.config.supervision, self.data, self.training, BlobStore(self.folder.blobs))

    @property
    def reported(self) -> IntArray | None:
        """Indices of the images that true factors are compared on: neither trained on nor ranked by, where possible."""
        if self.held_out is not None or self.ranking is None or self.config.supervision.share == 1:
            return self.held_out
        labels = np.asarray(BlobStore(self.folder.blobs).get_array(self.ranking), dtype=np.int64)
        return np.flatnonzero((labels < 0).all(axis=1))

    @property
    def told(self) -> str:
        """One line on the labels that the objective learns from; empty where it learns from images alone."""
        supervision = self.config.supervision
        ranked = self.config.method == "pbt-vae"
        if not (self.given or ranked):
            return ""
        columns = labelled_factors(supervision, self.data, enumerated="labels" in self.given)
        names = ", ".join(self.data.factor_names[column] for column in columns)
        if ranked:
            return f"ranks by {supervision.metric} on the labels of {supervision.share:.0%} of the images: {names}"
        if "labels" in self.given:
            return f"learns from the labels of {supervision.share:.0%} of the images: {names}"
        return f"learns from pairs that agree in all but {supervision.differing} of: {names}"

    @property
    def together(self) -> bool:
        """Whether a task is all replicas of a member: stacked, or side by side on a GPU (`training.replaying`)."""
        return self.stacked or self.device != "cpu"

    @property
    def context(self) -> WorkerContext:
        """What workers need to know."""
        return WorkerContext(
            store=self.folder.blobs,
            images=str(self.images.folder),
            objective=self.objectives[0].name,
            settings=self.objectives[0].settings,
            device=self.device,
            others=tuple((one.name, one.settings) for one in self.objectives[1:]),
            stacked=self.stacked,
            bf16=self.config.resources.precision == "bf16",
            compiled=self.config.resources.compile,
            **self.given,
        )


def kind_labels(names: Sequence[str]) -> list[str]:
    """Return what a population calls its objectives: by their names, numbered where one comes more than once."""
    return [
        name if names.count(name) == 1 else f"{name}-{names[:index].count(name) + 1}"
        for index, name in enumerate(names)
    ]


def prepare(folder: RunFolder, *, progress: ProgressCallback | None = None, device: str = "cpu") -> Prepared:
    """Read or render the images into the memory-mapped store that all runs in the folder beside share, and check all.

    Args:
        folder: of the run.
        progress: called with images done and images in all.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: the data cannot be read, or the objective does not fit it.
    """
    config = folder.config()
    data, objectives = check(config, progress)
    images = materialise(data, folder.path.parent / ".images" / data.fingerprint[:16], progress)
    folder.describe(
        data={"name": data.name, "fingerprint": data.fingerprint, "shape": list(data.shape), "images": len(data)}
    )
    prepared = Prepared(folder, config, data, images, objectives, device)
    blobs = BlobStore(folder.blobs)
    told = given_to([one.name for one in objectives], config.supervision, data, prepared.training, blobs)
    prepared = replace(prepared, given=told)
    return replace(prepared, stacked=_stacked(prepared))


def _stacked(prepared: Prepared) -> bool:
    """Return how replicas train, as `auto` found it when the run was prepared first; the run keeps to that."""
    folder, resources = prepared.folder, prepared.config.resources
    known = folder.description().get("replicas")
    if resources.replicas == "auto" and known is not None:
        return bool(known == "stacked")
    first = prepared.objectives[0]
    values = first.complete({name: mutable.default for name, mutable in first.space.items()})
    replicas = prepared.config.population.replicas
    stacked = choose_stacked(resources, prepared.context, len(prepared.images), values, replicas)
    folder.describe(replicas="stacked" if stacked else "looped")
    return stacked
