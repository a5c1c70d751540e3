"""The final objective learns from what the leaf runs found: from its labels, or from pairs that agree in them.

As published, labels act by selection alone. Here they are weak supervision as well: Ada-GVAE (Locatello et al. 2020)
takes pairs that agree in all known latents but a few, the semi-supervised model (Siddharth et al. 2017) the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pbt_disent.config import ObjectiveConfig, SupervisionConfig
from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.models.resolve import resolve
from pbt_disent.population.engine import Kind
from pbt_disent.rounds.recursion import Leaf, Level
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.seeds import Streams
from pbt_disent.training.given import MOST_COMBINATIONS
from pbt_disent.training.supervision import draw_partners
from pbt_disent.training.tasks import Teaching
from pbt_disent.types import IntArray

__all__ = ["found_labels", "teach"]


def found_labels(leaves: Sequence[Leaf], size: int) -> npt.NDArray[np.int64]:
    """Return the segments (N, L) of all latents that were cut into two or more, -1 where an image is in none.

    The first level comes once, for all leaf runs share it; a deeper level says something of its own subset alone.

    Args:
        leaves: leaf runs with at least one level each.
        size: N, the number of images of the whole set.
    """
    levels: list[Level] = [leaves[0].levels[0], *(level for leaf in leaves for level in leaf.levels[1:])]
    columns = []
    for level in levels:
        for segments in level.segments.T:
            if len(np.unique(segments[segments >= 0])) > 1:
                column = np.full(size, -1, dtype=np.int64)
                column[level.images] = segments
                columns.append(column)
    return np.stack(columns, axis=1) if columns else np.empty((size, 0), dtype=np.int64)


def teach(setup: RunSetup, leaves: Sequence[Leaf]) -> tuple[Kind, Teaching] | None:
    """Return the final objective with what it is told, or none where the run has no other one, or found no segments.

    Raises:
        UserError: the objective does not fit the images.
    """
    section = setup.config.final.objective
    if section is None:
        return None
    labels = found_labels(leaves, setup.data.images)
    if labels.shape[1] == 0:
        setup.record("not_taught", "final", reason="no latent was cut into segments")
        return None
    needs = OBJECTIVES[section.name].needs
    told: dict[str, str] = {}
    if "labels" in needs:
        latents: Any = section.values.get("latents", OBJECTIVES[section.name].settings["latents"].default)
        chosen = _few_enough(labels, most=int(latents) - 1)
        told["labels"] = setup.blobs.put_array(labels[:, chosen])
        section = _with_classes(section, labels[:, chosen])
    if "partner" in needs:
        told["partners"] = setup.blobs.put_array(_partners(setup, leaves, setup.data.images))
    resolved = resolve(section, setup.shape)
    setup.record("taught", "final", objective=resolved.name, labels=labels.shape[1])
    kind = Kind(resolved.name, resolved.space, resolved.fixed)
    return kind, Teaching(resolved.name, resolved.settings, told.get("labels"), told.get("partners"))


def _few_enough(labels: IntArray, most: int) -> list[int]:
    """Return the columns, at most so many, those known for most images first, whose combinations can be enumerated."""
    chosen: list[int] = []
    combinations = 1
    for column in np.argsort(-(labels >= 0).sum(axis=0), kind="stable"):
        size = int(labels[:, column].max()) + 1
        if not chosen or (combinations * size <= MOST_COMBINATIONS and len(chosen) < most):
            chosen.append(int(column))
            combinations *= size
    return sorted(chosen)


def _with_classes(section: ObjectiveConfig, labels: IntArray) -> ObjectiveConfig:
    return ObjectiveConfig(name=section.name, **{**section.values, "classes": [int(top) + 1 for top in labels.max(0)]})


def _partners(setup: RunSetup, leaves: Sequence[Leaf], size: int) -> npt.NDArray[np.int64]:
    """Return partners (N, P): images that agree in all labels that are known of both but some; else the image itself.

    On all images these are the labels of the first level. An image in a deeper level has half of its partners in that
    level's subset, where the latents above are constant: there a pair says something of the deeper ones.
    """
    supervision: SupervisionConfig = setup.config.supervision
    partners = np.tile(np.arange(size)[:, None], supervision.partners)
    deeper = [level for leaf in leaves for level in leaf.levels[1:]]
    for number, level in enumerate([leaves[0].levels[0], *deeper]):
        cut = [
            column for column, segments in enumerate(level.segments.T) if len(np.unique(segments[segments >= 0])) > 1
        ]
        known = (level.segments[:, cut] >= 0).all(axis=1)
        images = level.images[known]
        if not cut or len(images) < 2:
            continue
        count = supervision.partners if number == 0 else supervision.partners // 2
        generator = Streams(setup.config.seed).generator("final", "partners", *([level.path] if number else []))
        differing = min(supervision.differing, len(cut) - 1)
        drawn = draw_partners(level.segments[known][:, cut], max(count, 1), differing, generator)
        partners[images, : drawn.shape[1]] = images[drawn]
    return partners
