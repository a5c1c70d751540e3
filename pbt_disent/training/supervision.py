"""What some objectives learn from beside the images: class ids of some of them, or pairs that share factors."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES, Batch
from pbt_disent.models.encoding import to_unit
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.types import UInt8Array

__all__ = ["Supervision", "check_differing", "draw_partners", "keep_labels"]


@dataclass(frozen=True)
class Supervision:
    """The labels and partners of all images of a run, where there are any.

    Args:
        labels: (N, L) int64 class ids, -1 where one is not known.
        partners: (N, P) int64 indices of the images that each may be paired with.
    """

    labels: npt.NDArray[Any] | None = None
    partners: npt.NDArray[Any] | None = None

    @classmethod
    def load(cls, context: WorkerContext, blobs: BlobStore, images: int) -> Supervision:
        """Read what the objectives need, and nothing else.

        Raises:
            UserError: the objective needs labels or pairs and the run has none, or not one row for each image, or
                labels that the objective does not declare.
        """
        found: dict[str, npt.NDArray[Any]] = {}
        for need, field, digest in (("labels", "labels", context.labels), ("partner", "partners", context.partners)):
            needy = [name for name, _ in context.kinds if need in OBJECTIVES[name].needs]
            if not needy:
                continue
            if digest is None:
                raise UserError(f"objective {needy[0]}", f"needs {field}", "use an objective without them")
            found[field] = blobs.get_array(digest)
            if found[field].ndim != 2 or len(found[field]) != images:
                shape = found[field].shape
                raise UserError(
                    f"{field} of shape {shape}", f"must have one row for each of {images} images", "mend them"
                )
        for name, settings in context.kinds:
            if "labels" in OBJECTIVES[name].needs:
                _check_classes(found["labels"], settings["classes"])
        return cls(**found)

    def batch(self, images: UInt8Array, chosen: npt.NDArray[Any], device: str, generator: np.random.Generator) -> Batch:
        """Return the batch of the chosen images (B,) on a device, with what there is to learn from.

        Args:
            images: (N, C, H, W) all images.
            chosen: (B,) indices into them.
            device: ``cpu`` or ``cuda``.
            generator: chooses among the possible partners of an image.
        """
        labels = mask = partner = None
        if self.labels is not None:
            labels = torch.from_numpy(self.labels[chosen]).to(device)
            mask = labels >= 0
        if self.partners is not None:
            partner = to_unit(images[self.pair(chosen, generator)], device)
        return Batch(to_unit(images[chosen], device), labels, mask, partner)

    def pair(self, chosen: npt.NDArray[Any], generator: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw a partner for each of the chosen images: indices (B,).

        Raises:
            ValueError: there are no partners.
        """
        if self.partners is None:
            raise ValueError("there are no partners to draw from")
        column = generator.integers(self.partners.shape[1], size=len(chosen))
        partners: npt.NDArray[np.int64] = self.partners[chosen, column].astype(np.int64, copy=False)
        return partners


def keep_labels(labels: npt.NDArray[Any], share: float, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return labels (N, L) of which a share of the images keep theirs, the others being -1: a set fixed by image.

    The images are drawn evenly over all combinations of labels. A value that none of them has gets one image more.

    Args:
        labels: (N, L) class ids.
        share: 0 to 1.
        generator: draws the images.
    """
    kept = np.full(labels.shape, -1, dtype=np.int64)
    if share == 0:
        return kept
    _, group = np.unique(labels, axis=0, return_inverse=True)
    by_group = np.lexsort(np.stack([generator.random(len(labels)), group.ravel()]))
    count = max(1, round(share * len(labels)))
    stretch = np.arange(len(labels)) * count // len(labels)
    mixed = np.lexsort(np.stack([generator.random(len(labels)), stretch]))
    chosen = by_group[mixed[np.unique(stretch, return_index=True)[1]]]
    for column in labels.T:
        values, first = np.unique(column[by_group], return_index=True)
        chosen = np.union1d(chosen, by_group[first[~np.isin(values, column[chosen])]])
    kept[chosen] = labels[chosen]
    return kept


def draw_partners(
    labels: npt.NDArray[Any], count: int, differing: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return for each of N images `count` images (N, count) that it may be paired with.

    The two images of a pair have all labels in common but `differing` of them, which are free to agree or not; which
    ones these are goes in turn through all choices. An image that nothing agrees with is paired with itself.

    Args:
        labels: (N, L) class ids, all known.
        count: P, partners of each image.
        differing: 0 to L.
        generator: draws the partners.

    Raises:
        UserError: `differing` is not within 0 to L, or a label is unknown.
    """
    size, columns = labels.shape
    check_differing(differing, columns)
    if (labels < 0).any():
        raise UserError("labels that are not known", "cannot make pairs", "label all images")
    choices = list(itertools.combinations(range(columns), differing))
    turn = generator.permutation(len(choices))
    partners = np.empty((size, count), dtype=np.int64)
    for column in range(count):
        kept = np.delete(labels, list(choices[turn[column % len(turn)]]), axis=1)
        _, group = np.unique(kept, axis=0, return_inverse=True)
        order = np.lexsort(np.stack([generator.random(size), group.ravel()]))
        ends = np.flatnonzero(np.diff(group.ravel()[order], append=-1))
        following = np.roll(order, -1)
        following[ends] = order[np.concatenate([[0], ends[:-1] + 1])]
        partners[order, column] = following
    return partners


def check_differing(differing: int, labelled: int) -> None:
    """Raise a `UserError` unless so many labels of all that are known may differ."""
    if not 0 <= differing <= labelled:
        given, remedy = f"supervision.differing={differing}", "label more factors or lower supervision.differing"
        raise UserError(given, f"must be at most {labelled}, the labelled factors", remedy)


def _check_classes(labels: npt.NDArray[Any], classes: list[int]) -> None:
    if labels.shape[1] != len(classes):
        given = f"{labels.shape[1]} columns of labels"
        raise UserError(given, f"must be one for each of objective.classes={classes}", "declare or drop the others")
    for column, size in enumerate(classes):
        top = int(labels[:, column].max(initial=-1))
        if top >= size:
            raise UserError(f"class {top} of label {column}", f"must be below {size}", "raise objective.classes")
