"""The supervision of a run, for objectives that need it: labels of some images, or pairs of images that share factors.

Which of a set's known factors are used is decided once, before training; workers read the arrays by their digests.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pbt_disent.config import SupervisionConfig
from pbt_disent.data.base import ImageData
from pbt_disent.errors import UserError, nearest
from pbt_disent.models.contract import Batch, ObjectiveOptions
from pbt_disent.models.encoding import to_unit
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.tasks import SupervisionDigests
from pbt_disent.types import IntArray, UInt8Array

__all__ = [
    "MAX_COMBINATIONS",
    "Supervision",
    "check_differing",
    "draw_partners",
    "keep_labels",
    "labelled_factors",
    "ranking_labels",
    "store_supervision",
    "with_classes",
]

MAX_COMBINATIONS = 16
"""The number of combinations of labels that are enumerated by default, at most: each is one more image to decode."""


@dataclass(frozen=True)
class Supervision:
    """The labels and partners of all images of a run, where there are any.

    Args:
        labels: The class ids, (N, L) int64, -1 where one is not known.
        partners: The indices of the images that each may be paired with, (N, P) int64.
    """

    labels: npt.NDArray[Any] | None = None
    partners: npt.NDArray[Any] | None = None

    @classmethod
    def load(
        cls, options: ObjectiveOptions, digests: SupervisionDigests, blobs: BlobStore, num_images: int
    ) -> Supervision:
        """Read what an objective needs, and nothing else.

        Args:
            options: The options of the objective.
            digests: The digests of what the run has to learn from.
            blobs: The store that holds the arrays.
            num_images: The number of images, N.

        Raises:
            UserError: The objective needs labels or pairs and the run has none, or not one row for each image, or
                labels that the objective does not declare.
        """
        arrays = {name: blobs.get_array(digest) for name, digest in digests.needed_by(options).items()}
        for name, array in arrays.items():
            if array.ndim != 2 or len(array) != num_images:
                rule = f"must have one row for each of {num_images} images"
                raise UserError(f"{name} of shape {array.shape}", rule, "check the labels")
        if "labels" in arrays:
            _check_classes(arrays["labels"], list(getattr(options, "classes", ())))
        return cls(**arrays)

    def batch(
        self, images: UInt8Array, indices: npt.NDArray[Any], device: str, generator: np.random.Generator
    ) -> Batch:
        """Return a batch on a device, with its labels and partners.

        Args:
            images: All images, (N, C, H, W).
            indices: The indices of the images in the batch, (B,).
            device: ``cpu`` or ``cuda``.
            generator: The random stream that chooses among the possible partners of an image.
        """
        labels = mask = partner = None
        if self.labels is not None:
            labels = torch.from_numpy(self.labels[indices]).to(device)
            mask = labels >= 0
        if self.partners is not None:
            partner = to_unit(images[self.pair(indices, generator)], device)
        return Batch(to_unit(images[indices], device), labels, mask, partner)

    def pair(self, indices: npt.NDArray[Any], generator: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw a partner for each image of a batch and return their indices, (B,).

        Args:
            indices: The indices of the images in the batch, (B,).
            generator: The random stream that chooses among the possible partners of an image.

        Raises:
            ValueError: There are no partners.
        """
        if self.partners is None:
            raise ValueError("there are no partners to draw from")
        column = generator.integers(self.partners.shape[1], size=len(indices))
        partners: npt.NDArray[np.int64] = self.partners[indices, column].astype(np.int64, copy=False)
        return partners


def keep_labels(labels: npt.NDArray[Any], share: float, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the labels, (N, L), of a share of the images, and -1 for all others.

    The images are drawn evenly over all combinations of labels. A value that none of them has gets one image more.

    >>> labels = np.array([[0], [0], [0], [1], [1], [1]])
    >>> int((keep_labels(labels, 0.5, np.random.default_rng(0)) >= 0).sum())
    3

    Args:
        labels: The class ids, (N, L).
        share: The share of the images, 0 to 1.
        generator: The random stream that draws the images.
    """
    kept = np.full(labels.shape, -1, dtype=np.int64)
    if share == 0:
        return kept
    _, group = np.unique(labels, axis=0, return_inverse=True)
    by_group = np.lexsort(np.stack([generator.random(len(labels)), group.ravel()]))
    count = max(1, round(share * len(labels)))
    stretch = np.arange(len(labels)) * count // len(labels)
    mixed = np.lexsort(np.stack([generator.random(len(labels)), stretch]))
    labelled = by_group[mixed[np.unique(stretch, return_index=True)[1]]]
    for column in labels.T:
        values, first = np.unique(column[by_group], return_index=True)
        labelled = np.union1d(labelled, by_group[first[~np.isin(values, column[labelled])]])
    kept[labelled] = labels[labelled]
    return kept


def draw_partners(
    labels: npt.NDArray[Any], count: int, differing: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return for each of N images `count` images (N, count) that it may be paired with.

    The two images of a pair have all labels in common but `differing` of them, which are free to agree or not; which
    ones these are goes in turn through all choices. An image that nothing agrees with is paired with itself.

    >>> labels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> draw_partners(labels, count=2, differing=1, generator=np.random.default_rng(0)).shape
    (4, 2)

    Args:
        labels: The class ids, (N, L), all known.
        count: The number of partners of each image, P.
        differing: The number of labels that may differ, 0 to L.
        generator: The random stream that draws the partners.

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
    """Check how many labels the two images of a pair may differ in.

    Args:
        differing: The number of labels that may differ.
        labelled: The number of labelled factors.

    Raises:
        UserError: There are fewer labelled factors.
    """
    if not 0 <= differing <= labelled:
        option, remedy = f"supervision.differing={differing}", "label more factors or lower supervision.differing"
        raise UserError(option, f"must be at most {labelled}, the labelled factors", remedy)


def _check_classes(labels: npt.NDArray[Any], classes: list[int]) -> None:
    if labels.shape[1] != len(classes):
        columns = f"{labels.shape[1]} columns of labels"
        raise UserError(columns, f"must be one for each of objective.classes={classes}", "declare or drop the others")
    for column, size in enumerate(classes):
        top = int(labels[:, column].max(initial=-1))
        if top >= size:
            raise UserError(f"class {top} of label {column}", f"must be below {size}", "raise objective.classes")


def labelled_factors(supervision: SupervisionConfig, data: ImageData, enumerated: bool) -> list[int]:
    """Return which factors of the set are used as labels, as columns.

    By default these are all that vary; where their values are enumerated, those with the fewest values, as long as
    there are at most 16 combinations.

    Args:
        supervision: The section of the config.
        data: The images with their factors.
        enumerated: Whether the objective enumerates the combinations of labels.

    Raises:
        UserError: The set has no factors, or none of a given name.
    """
    varying = [column for column, size in enumerate(data.factor_sizes) if size > 1]
    if not varying:
        remedy = "name a table with --set data.options.labels=FILE"
        raise UserError(f"data {data.name}", "has no labels, which this run needs", remedy)
    if supervision.factors is not None:
        for name in supervision.factors:
            if name not in data.factor_names:
                raise UserError(f"supervision.factors: {name!r}", "is no factor", nearest(name, data.factor_names))
        return [data.factor_names.index(name) for name in supervision.factors]
    if not enumerated:
        return varying
    columns: list[int] = []
    for column in sorted(varying, key=lambda column: data.factor_sizes[column]):
        if math.prod(data.factor_sizes[c] for c in [*columns, column]) <= MAX_COMBINATIONS:
            columns.append(column)
    return sorted(columns) or varying[:1]


def with_classes(options: ObjectiveOptions, supervision: SupervisionConfig, data: ImageData) -> ObjectiveOptions:
    """Return the options of an objective with its labelled latents described, if it has any.

    Args:
        options: The options of the objective.
        supervision: The section of the config.
        data: The images with their factors.

    Raises:
        UserError: The options do not fit the labels, or a pair is to differ in more labels than there are; or see
            `labelled_factors`.
    """
    if "partner" in options.needs:
        check_differing(supervision.differing, len(labelled_factors(supervision, data, enumerated=False)))
    if "labels" not in options.needs:
        return options
    columns = labelled_factors(supervision, data, enumerated=True)
    sizes, names = ([values[column] for column in columns] for values in (data.factor_sizes, data.factor_names))
    return options.with_classes([int(size) for size in sizes], [str(name) for name in names])


def store_supervision(
    objectives: Sequence[ObjectiveOptions],
    supervision: SupervisionConfig,
    data: ImageData,
    images: IntArray | None,
    blobs: BlobStore,
) -> SupervisionDigests:
    """Store the labels and pairs that objectives learn from.

    Which images are labelled depends on the set and the share alone, so that no seed changes it.

    Args:
        objectives: The options of the objectives.
        supervision: The section of the config.
        data: The images with their factors, which are read here and only if an objective needs them.
        images: The indices of those that may be trained on, or None for all.
        blobs: The store where the arrays go.

    Raises:
        UserError: See `labelled_factors` and `draw_partners`.
    """
    needs = frozenset[str]().union(*(options.needs for options in objectives))
    labels = partners = None
    if "labels" in needs:
        factors = _known_factors(supervision, data, enumerated=True)
        labels = blobs.put_array(_share_of_labels(factors, supervision.share, images))
    if "partner" in needs:
        factors = _known_factors(supervision, data, enumerated=False)
        trained = np.arange(len(data)) if images is None else images
        generator = Streams(0).generator("partners")
        drawn = draw_partners(factors[trained], supervision.partners, supervision.differing, generator)
        table = np.tile(np.arange(len(data))[:, None], supervision.partners)
        table[trained] = trained[drawn]
        partners = blobs.put_array(table)
    return SupervisionDigests(labels, partners)


def ranking_labels(supervision: SupervisionConfig, data: ImageData, images: IntArray | None, blobs: BlobStore) -> str:
    """Store the labels (N, K) that members may be ranked by, -1 where one is not known, and return their digest.

    Args:
        supervision: The section of the config.
        data: The images with their factors.
        images: The indices of those that may be trained on, or None for all.
        blobs: The store where the array goes.

    Raises:
        UserError: See `labelled_factors`.
    """
    factors = _known_factors(supervision, data, enumerated=False)
    return blobs.put_array(_share_of_labels(factors, supervision.share, images))


def _share_of_labels(labels: npt.NDArray[np.int64], share: float, images: IntArray | None) -> npt.NDArray[np.int64]:
    """Return the labels of a share of the images that may be trained on, -1 for all others."""
    kept = np.full_like(labels, -1)
    trained = slice(None) if images is None else images
    kept[trained] = keep_labels(labels[trained], share, Streams(0).generator("labelled"))
    return kept


def _known_factors(supervision: SupervisionConfig, data: ImageData, enumerated: bool) -> npt.NDArray[np.int64]:
    columns: Sequence[int] = labelled_factors(supervision, data, enumerated)
    factors = data.factors(np.arange(len(data)))
    if factors is None:
        raise UserError(f"data {data.name}", "has no labels, which this run needs", "name a table of labels")
    return np.ascontiguousarray(factors[:, columns], dtype=np.int64)
