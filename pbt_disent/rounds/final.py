"""The final population: one model per member on all images, ranked by the labels that the leaf runs found.

As published, the labels act by selection alone (Estermann et al. 2020, arXiv 2010.13527). With `final.objective` they
are weak supervision as well: Ada-GVAE (Locatello et al. 2020, arXiv 2002.02886) takes pairs that agree in all labels
but a few, the semi-supervised model (Siddharth et al. 2017, arXiv 1706.00400) the labels themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pbt_disent.config import SupervisionConfig
from pbt_disent.models.contract import ObjectiveOptions
from pbt_disent.population.engine import PopulationResult
from pbt_disent.population.executor import LabelLevel
from pbt_disent.population.fitness import Fitness
from pbt_disent.rounds.budget import final_population
from pbt_disent.rounds.recursion import LeafLevel, LeafRun
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.seeds import Streams
from pbt_disent.training.supervision import MAX_COMBINATIONS, draw_partners
from pbt_disent.training.tasks import SupervisionDigests
from pbt_disent.types import IntArray

__all__ = ["final_round", "segment_labels", "weak_supervision"]


def final_round(setup: RunSetup, leaf_runs: Sequence[LeafRun], allowance: int | None = None) -> PopulationResult:
    """Run the final population. Levels with too few images to be scored, or fewer than latents, take no part.

    Args:
        setup: The run.
        leaf_runs: The leaf runs, each with at least one level.
        allowance: The number of image passes that it may pay, or None for no limit; it pays for the configured
            generations at least.
    """
    fitness: Fitness = setup.config.final.fitness
    objective, supervision = weak_supervision(setup, leaf_runs)
    max_latents = setup.max_latents if objective is None else objective.latents
    levels = [
        [
            (level, setup.sample(np.arange(len(level.images)), fitness.points, "final", leaf.number, level.path))
            for level in leaf.levels
            if len(level.images) >= max(fitness.min_points, max_latents)
        ]
        for leaf in leaf_runs
    ]
    probe = np.unique(np.concatenate([level.images[rows] for leaf in levels for level, rows in leaf]))
    labels = tuple(
        tuple(
            LabelLevel(
                setup.blobs.put_array(np.searchsorted(probe, level.images[rows])),
                setup.blobs.put_array(level.codes[rows]),
            )
            for level, rows in leaf
        )
        for leaf in levels
    )
    population = setup.afford(
        final_population(setup.config), allowance, setup.num_images, last=True, objective=objective
    )
    if population is None:
        raise RuntimeError("the budget did not reserve the cost of the final round")
    return setup.run(
        "final",
        population,
        fitness=fitness,
        subset=setup.images,
        probe=probe,
        labels=labels,
        objectives=None if objective is None else {objective.name: objective},
        supervision=supervision,
    )


def weak_supervision(
    setup: RunSetup, leaf_runs: Sequence[LeafRun]
) -> tuple[ObjectiveOptions | None, SupervisionDigests | None]:
    """Return the final objective with what it learns from; None where the run has none, or no segments were found.

    Raises:
        UserError: The objective does not fit the images.
    """
    objective: ObjectiveOptions | None = setup.config.final.objective
    if objective is None:
        return None, None
    labels = segment_labels(leaf_runs, setup.data.num_images)
    if labels.shape[1] == 0:
        setup.record("no_weak_supervision", "final", reason="no latent was cut into segments")
        return None, None
    label_digest = partner_digest = None
    if "labels" in objective.needs:
        columns = _enumerable_columns(labels, max_columns=objective.latents - 1)
        label_digest = setup.blobs.put_array(labels[:, columns])
        objective = objective.with_classes([int(largest) + 1 for largest in labels[:, columns].max(0)])
    if "partner" in objective.needs:
        partner_digest = setup.blobs.put_array(_partners(setup, leaf_runs, setup.data.num_images))
    setup.record("weak_supervision", "final", objective=objective.name, labels=labels.shape[1])
    return objective.resolve(setup.image_shape), SupervisionDigests(label_digest, partner_digest)


def segment_labels(leaf_runs: Sequence[LeafRun], num_images: int) -> npt.NDArray[np.int64]:
    """Return the segments (N, L) of all latents that were cut into two or more, -1 where an image is in none.

    The first level comes once, for all leaf runs share it; a deeper level says something of its own subset alone.

    Args:
        leaf_runs: The leaf runs, each with at least one level.
        num_images: The number of images of the whole set, N.
    """
    levels: list[LeafLevel] = [leaf_runs[0].levels[0], *(level for leaf in leaf_runs for level in leaf.levels[1:])]
    columns = []
    for level in levels:
        for segments in level.segments.T:
            if len(np.unique(segments[segments >= 0])) > 1:
                column = np.full(num_images, -1, dtype=np.int64)
                column[level.images] = segments
                columns.append(column)
    return np.stack(columns, axis=1) if columns else np.empty((num_images, 0), dtype=np.int64)


def _enumerable_columns(labels: IntArray, max_columns: int) -> list[int]:
    """Return the columns whose combinations can be enumerated, those with the most labelled images first."""
    columns: list[int] = []
    combinations = 1
    for column in np.argsort(-(labels >= 0).sum(axis=0), kind="stable"):
        size = int(labels[:, column].max()) + 1
        if not columns or (combinations * size <= MAX_COMBINATIONS and len(columns) < max_columns):
            columns.append(int(column))
            combinations *= size
    return sorted(columns)


def _partners(setup: RunSetup, leaf_runs: Sequence[LeafRun], num_images: int) -> npt.NDArray[np.int64]:
    """Return partners (N, P): images that agree in all labels that both have, but some; else the image itself.

    On all images these are the labels of the first level. An image in a deeper level has half of its partners in that
    level's subset, where the latents above are constant: there a pair says something of the deeper ones.
    """
    supervision: SupervisionConfig = setup.config.supervision
    partners = np.tile(np.arange(num_images)[:, None], supervision.partners)
    deeper = [level for leaf in leaf_runs for level in leaf.levels[1:]]
    for number, level in enumerate([leaf_runs[0].levels[0], *deeper]):
        cut = [
            column for column, segments in enumerate(level.segments.T) if len(np.unique(segments[segments >= 0])) > 1
        ]
        is_labelled = (level.segments[:, cut] >= 0).all(axis=1)
        images = level.images[is_labelled]
        if not cut or len(images) < 2:
            continue
        count = supervision.partners if number == 0 else supervision.partners // 2
        generator = Streams(setup.config.seed).generator("final", "partners", *([level.path] if number else []))
        differing = min(supervision.differing, len(cut) - 1)
        positions = draw_partners(level.segments[is_labelled][:, cut], max(count, 1), differing, generator)
        partners[images, : positions.shape[1]] = images[positions]
    return partners
