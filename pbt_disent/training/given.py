"""What of a set's known factors an objective is told: the labels of a share of the images, or pairs that agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pbt_disent.config import ObjectiveConfig, SupervisionConfig
from pbt_disent.data.base import ImageData
from pbt_disent.errors import UserError, nearest
from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.supervision import check_differing, draw_partners, keep_labels
from pbt_disent.types import IntArray

__all__ = ["given_to", "labelled_factors", "ranking_labels", "with_classes"]

MOST_COMBINATIONS = 16
"""Of labels that are chosen by default: each is one more image to decode."""


def labelled_factors(supervision: SupervisionConfig, data: ImageData, enumerated: bool) -> list[int]:
    """Return which factors of the set are told, as columns.

    By default these are all that vary; where their values are enumerated, those with the fewest values, as long as
    there are at most 16 combinations.

    Raises:
        UserError: the set has no factors, or none of a given name.
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
    chosen: list[int] = []
    for column in sorted(varying, key=lambda column: data.factor_sizes[column]):
        if math.prod(data.factor_sizes[c] for c in [*chosen, column]) <= MOST_COMBINATIONS:
            chosen.append(column)
    return sorted(chosen) or varying[:1]


def with_classes(objective: ObjectiveConfig, supervision: SupervisionConfig, data: ImageData) -> ObjectiveConfig:
    """Return the objective's section with its labelled latents described, if it has any and does not say.

    Raises:
        UserError: what it says does not fit the labels, a pair is to differ in more labels than there are; or see
            `labelled_factors`.
    """
    kind, given = OBJECTIVES[objective.name], objective.values.get("classes")
    if "partner" in kind.needs:
        known = len(labelled_factors(supervision, data, enumerated=False))
        check_differing(supervision.differing, known)
    if "classes" not in kind.settings:
        return objective
    columns = labelled_factors(supervision, data, enumerated=True)
    sizes = [data.factor_sizes[column] for column in columns]
    if given and isinstance(given, list | tuple):
        told = ", ".join(f"{data.factor_names[c]} ({size})" for c, size in zip(columns, sizes, strict=True))
        if len(given) != len(sizes) or any(own < size for own, size in zip(given, sizes, strict=True)):
            rule = f"must have room for each of the labels {told}"
            raise UserError(
                f"objective.classes={list(given)}", rule, "leave it out, or name others in supervision.factors"
            )
    return objective if given else ObjectiveConfig(name=objective.name, **{**objective.values, "classes": sizes})


def given_to(
    objectives: Sequence[str],
    supervision: SupervisionConfig,
    data: ImageData,
    images: IntArray | None,
    blobs: BlobStore,
) -> dict[str, str]:
    """Store what the objectives are told, and return the digests that `WorkerContext` takes by those names.

    Which images are labelled depends on the set and the share alone, so that no seed changes it.

    Args:
        objectives: their names.
        supervision: the section of the config.
        data: the images with their factors, which are read here and only if an objective needs them.
        images: indices of those that may be trained on; none for all.
        blobs: where the arrays go.

    Raises:
        UserError: see `labelled_factors` and `draw_partners`.
    """
    needs = frozenset[str]().union(*(OBJECTIVES[name].needs for name in objectives))
    found: dict[str, str] = {}
    if "labels" in needs:
        labels = _labels(supervision, data, enumerated=True)
        found["labels"] = blobs.put_array(_told(labels, supervision.share, images))
    if "partner" in needs:
        labels = _labels(supervision, data, enumerated=False)
        chosen = np.arange(len(data)) if images is None else images
        generator = Streams(0).generator("partners")
        drawn = draw_partners(labels[chosen], supervision.partners, supervision.differing, generator)
        partners = np.tile(np.arange(len(data))[:, None], supervision.partners)
        partners[chosen] = chosen[drawn]
        found["partners"] = blobs.put_array(partners)
    return found


def ranking_labels(supervision: SupervisionConfig, data: ImageData, images: IntArray | None, blobs: BlobStore) -> str:
    """Store the labels (N, K) that members may be ranked by, -1 where one is not known, and return their digest.

    Args:
        supervision: says which factors, and of which share of the images.
        data: the images with their factors.
        images: indices of those that may be trained on; none for all.
        blobs: where the array goes.

    Raises:
        UserError: see `labelled_factors`.
    """
    return blobs.put_array(_told(_labels(supervision, data, enumerated=False), supervision.share, images))


def _told(labels: npt.NDArray[np.int64], share: float, images: IntArray | None) -> npt.NDArray[np.int64]:
    """Return the labels of a share of the images that may be trained on, -1 for all others."""
    told = np.full_like(labels, -1)
    own = slice(None) if images is None else images
    told[own] = keep_labels(labels[own], share, Streams(0).generator("labelled"))
    return told


def _labels(supervision: SupervisionConfig, data: ImageData, enumerated: bool) -> npt.NDArray[np.int64]:
    columns: Sequence[int] = labelled_factors(supervision, data, enumerated)
    factors = data.factors(np.arange(len(data)))
    if factors is None:
        raise UserError(f"data {data.name}", "has no labels, which this run needs", "name a table of labels")
    return np.ascontiguousarray(factors[:, columns], dtype=np.int64)
