"""How sure the scores are by which the models of a run were chosen: over models where there are some, else over images.

Neither takes into account that the best of many was chosen; scores on images that were never trained on do not choose
among images, and that is all they mend.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from pbt_disent.config import Config
from pbt_disent.metrics import MINIMUM_POINTS, Interval, interval_ends, interval_over_points, leaf_runs_mig
from pbt_disent.models import LatentModel
from pbt_disent.population.engine import Best
from pbt_disent.population.fitness.labelled import SCORES
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.uncertainty import member_interval
from pbt_disent.rounds.method import Result
from pbt_disent.rounds.setup import sample
from pbt_disent.store.blobs import BlobStore
from pbt_disent.types import FloatArray, IntArray, Json, UInt8Array

__all__ = ["chosen_intervals"]

FEW_RESAMPLES = 10


def chosen_intervals(
    config: Config, result: Result, journal: RoundJournal, blobs: BlobStore, images: UInt8Array, ranking: str | None
) -> dict[str, Json]:
    """Return how sure the best score of the `first` round is and that of the last (`final`).

    Args:
        config: of the run.
        result: of the run.
        journal: of its manifests.
        blobs: where the checkpoints are.
        images: (N, C, H, W) all images; a memory map.
        ranking: digest of the labels (N, K) that a `pbt-vae` ranks by, -1 where unknown.

    Returns:
        Of each the two ends of the `interval`, of 95 %, and `over` what: ``models`` or ``points`` (images); both are
        none where it cannot be had.
    """
    if config.method == "pbt-vae":
        first = _of_labelled(config, result.first.best, blobs, images, ranking)
    else:
        first = _of_replicas(config, result.first.best, journal)
    final = first if result.last is result.first else _of_final(config, result, blobs, images)
    return {
        name: {"interval": interval_ends(found), "over": None if found is None else found.over}
        for name, found in (("first", first), ("final", final))
    }


def _of_replicas(config: Config, best: Best | None, journal: RoundJournal) -> Interval | None:
    manifest = None if best is None else journal.read("0", best.generation)
    if best is None or manifest is None:
        return None
    return member_interval(manifest, manifest.members[best.member], "udr", config.udr.against)


def _of_labelled(
    config: Config, best: Best | None, blobs: BlobStore, images: UInt8Array, ranking: str | None
) -> Interval | None:
    if best is None or ranking is None:
        return None
    supervision = config.supervision
    labels = np.asarray(blobs.get_array(ranking), dtype=np.int64)
    known = sample(config.seed, np.flatnonzero((labels >= 0).all(axis=1)), supervision.points, "0", "probe")
    truth = labels[known][:, np.ptp(labels[known], axis=0) > 0]
    codes = LatentModel.from_checkpoint(blobs.get(best.checkpoint)).encode(images[known])
    score = SCORES[supervision.metric]
    return interval_over_points(
        best.score,
        lambda rows, _: score(codes[rows[0]], truth[rows[0]], supervision.bins),
        [len(codes)],
        bounds=(0.0, 1.0),
        resamples=FEW_RESAMPLES if supervision.metric == "dci" else 100,
    )


def _of_final(config: Config, result: Result, blobs: BlobStore, images: UInt8Array) -> Interval | None:
    """Return the interval of the final model's leaf-MIG over the images of every level of every leaf run."""
    best = result.last.best
    if best is None:
        return None
    model = LatentModel.from_checkpoint(blobs.get(best.checkpoint))
    leaves: list[list[tuple[FloatArray, FloatArray]]] = []
    for leaf in result.leaves:
        levels = []
        for level in leaf.levels:
            if len(level.images) >= max(MINIMUM_POINTS, len(model.latents)):
                rows = sample(
                    config.seed, np.arange(len(level.images)), config.final.points, "final", leaf.number, level.path
                )
                levels.append((model.encode(images[level.images[rows]]), level.values[rows]))
        if levels:
            leaves.append(levels)
    everything = list(chain.from_iterable(leaves))
    if not everything:
        return None

    def statistic(rows: Sequence[IntArray], _: int) -> float:
        taken = iter([(codes[part], labels[part]) for (codes, labels), part in zip(everything, rows, strict=True)])
        return float(leaf_runs_mig([[next(taken) for _ in leaf] for leaf in leaves], bins=config.final.bins).score)

    return interval_over_points(best.score, statistic, [len(codes) for codes, _ in everything], bounds=(0.0, 1.0))
