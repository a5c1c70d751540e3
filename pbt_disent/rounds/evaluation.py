"""How well a finished run's models score, and how sure that is: on held-out images, over images and over models.

Intervals of the scores by which models were chosen do not take into account that the best of many was chosen. Scores
on images that were never trained on do not choose among images, and that is all they correct.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from pbt_disent.config import Config
from pbt_disent.metrics import (
    MINIMUM_POINTS,
    Interval,
    interval_ends,
    interval_over_points,
    leaf_mig,
    leaf_runs_mig,
    reconstruction_error,
)
from pbt_disent.models import LatentModel
from pbt_disent.population.engine import Best
from pbt_disent.population.fitness import Fitness
from pbt_disent.population.fitness.labelled import LabelledFitness
from pbt_disent.population.fitness.leaf_mig import LeafMIGFitness
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import member_interval
from pbt_disent.rounds.method import RunResult
from pbt_disent.rounds.setup import sample
from pbt_disent.store.blobs import BlobStore
from pbt_disent.types import FloatArray, IntArray, Json, UInt8Array

__all__ = ["HELD_OUT_TITLES", "score_held_out", "selection_intervals"]

FEW_RESAMPLES = 10
HELD_OUT_POINTS = 10_000
HELD_OUT_TITLES = {
    "udr": "UDR of the first round's best member",
    "leaf_mig": "leaf-MIG",
    "error": "squared error a pixel",
}
"""What the scores on held-out images are called, by key."""

ScoreWithInterval = tuple[float | None, list[float] | None]
"""A score and its interval, None where it cannot be measured."""


def selection_intervals(
    config: Config, result: RunResult, journal: RoundJournal, blobs: BlobStore, images: UInt8Array, ranking: str | None
) -> dict[str, Json]:
    """Return how sure the best score of the `first` round is and that of the last (`final`).

    Args:
        config: The config of the run.
        result: The result of the run.
        journal: The journal of its manifests.
        blobs: The store of its checkpoints.
        images: All images, (N, C, H, W); a memory map.
        ranking: The digest of the labels (N, K) that a labelled fitness ranks by, -1 where unknown, or None.

    Returns:
        Of each the two ends of the `interval`, of 95 %, and `over` what: ``models`` or ``points`` (images); both are
        None where it cannot be had.
    """
    fitness = config.population.fitness
    if isinstance(fitness, LabelledFitness):
        first = _interval_over_labelled(config, fitness, result.first.best, blobs, images, ranking)
    else:
        first = _interval_over_replicas(fitness, result.first.best, journal)
    final = first if result.last is result.first else _interval_of_final(config, result, blobs, images)
    return {
        name: {"interval": interval_ends(interval), "over": None if interval is None else interval.over}
        for name, interval in (("first", first), ("final", final))
    }


def _interval_over_replicas(fitness: Fitness, best: Best | None, journal: RoundJournal) -> Interval | None:
    manifest = None if best is None else journal.read("0", best.generation)
    if best is None or manifest is None:
        return None
    return member_interval(manifest, manifest.members[best.member], fitness)


def _interval_over_labelled(
    config: Config,
    fitness: LabelledFitness,
    best: Best | None,
    blobs: BlobStore,
    images: UInt8Array,
    ranking: str | None,
) -> Interval | None:
    if best is None or ranking is None:
        return None
    labels = np.asarray(blobs.get_array(ranking), dtype=np.int64)
    probe = sample(config.seed, np.flatnonzero((labels >= 0).all(axis=1)), fitness.points, "0", "probe")
    factors = labels[probe][:, np.ptp(labels[probe], axis=0) > 0]
    codes = LatentModel.from_checkpoint(blobs.get(best.checkpoint)).encode(images[probe])
    return interval_over_points(
        best.score,
        lambda rows, _: fitness.metric(codes[rows[0]], factors[rows[0]]),
        [len(codes)],
        bounds=(0.0, 1.0),
        resamples=FEW_RESAMPLES if fitness.name == "dci" else 100,
    )


def _interval_of_final(config: Config, result: RunResult, blobs: BlobStore, images: UInt8Array) -> Interval | None:
    """Return the interval of the final model's leaf-MIG over the images of every level of every leaf run."""
    best, fitness = result.last.best, config.final.fitness
    if best is None or not isinstance(fitness, LeafMIGFitness):
        return None
    model = LatentModel.from_checkpoint(blobs.get(best.checkpoint))
    leaves: list[list[tuple[FloatArray, FloatArray]]] = []
    for leaf in result.leaves:
        levels = []
        for level in leaf.levels:
            if len(level.images) >= max(fitness.min_points, len(model.latents)):
                rows = sample(
                    config.seed, np.arange(len(level.images)), fitness.points, "final", leaf.number, level.path
                )
                levels.append((model.encode(images[level.images[rows]]), level.values[rows]))
        if levels:
            leaves.append(levels)
    all_levels = list(chain.from_iterable(leaves))
    if not all_levels:
        return None

    def statistic(rows: Sequence[IntArray], _: int) -> float:
        parts = iter([(codes[part], labels[part]) for (codes, labels), part in zip(all_levels, rows, strict=True)])
        return float(leaf_runs_mig([[next(parts) for _ in leaf] for leaf in leaves], bins=fitness.bins).score)

    return interval_over_points(best.score, statistic, [len(codes) for codes, _ in all_levels], bounds=(0.0, 1.0))


def score_held_out(
    config: Config, result: RunResult, blobs: BlobStore, images: UInt8Array, held_out: IntArray | None
) -> Json | None:
    """Score a run's models on held-out images, or return None where there are too few (fewer than 20).

    Args:
        config: The config of the run.
        result: The result of the run.
        blobs: The store of its checkpoints.
        images: All images, (N, C, H, W); a memory map.
        held_out: The indices of the held-out images, of which the first 10,000 count, or None.

    Returns:
        `num_images`; `udr` of the best member of the first round (None if it is a single model); `leaf_mig` of the
        final model on the labels that the first round's best model gives to these images (None unless both exist);
        both None where a model has more latents than there are images; `error`, the mean squared error of the final
        model's reconstructions per pixel, of values in 0 to 1; and `intervals`, by the same keys, of 95 % over the
        images (`selection_intervals` says how UDR spreads over models).
    """
    first, last = result.first.best, result.last.best
    if held_out is None or len(held_out) < MINIMUM_POINTS or first is None or last is None:
        return None
    pictures = images[held_out[:HELD_OUT_POINTS]]
    final = LatentModel.from_checkpoint(blobs.get(last.checkpoint))
    codes = final.encode(pictures)
    originals = pictures[:1000]
    errors = reconstruction_error(originals / np.float32(255), final.decode(codes[: len(originals)]))
    scores = {
        "udr": _udr(config.population.fitness, first, blobs, pictures),
        "leaf_mig": _leaf_mig(config, result, blobs, pictures, codes),
        "error": _with_interval(errors.score, lambda rows: float(errors.per_image[rows].mean()), len(originals)),
    }
    return {
        "num_images": len(pictures),
        **{key: score for key, (score, _) in scores.items()},
        "intervals": {key: interval for key, (_, interval) in scores.items()},
    }


def _with_interval(score: float, statistic: Callable[[IntArray], float], points: int) -> ScoreWithInterval:
    return score, interval_ends(interval_over_points(score, lambda rows, _: statistic(rows[0]), [points]))


def _udr(fitness: Fitness, best: Best, blobs: BlobStore, images: UInt8Array) -> ScoreWithInterval:
    if len(best.replicas) < 2:
        return None, None
    ranking = fitness if isinstance(fitness, UDRFitness) else UDRFitness()
    models = [LatentModel.from_checkpoint(blobs.get(checkpoint)) for checkpoint in best.replicas]
    images = images[: ranking.points]
    if len(images) < len(models[0].latents):
        return None, None
    encoded = [model.posterior(images) for model in models]
    codes, information = np.stack([part.codes for part in encoded]), np.stack([part.information for part in encoded])
    score = ranking.rank(codes, information).score
    return _with_interval(score, lambda rows: ranking.rank(codes[:, rows], information).score, codes.shape[1])


def _leaf_mig(
    config: Config, result: RunResult, blobs: BlobStore, images: UInt8Array, codes: FloatArray
) -> ScoreWithInterval:
    if result.first.best is None or result.last is result.first or len(codes) < codes.shape[1]:
        return None, None
    first = LatentModel.from_checkpoint(blobs.get(result.first.best.checkpoint)).posterior(images)
    learned = first.information > config.rounds.information_threshold
    if not learned.any():
        return None, None
    labels = first.codes[:, learned]
    score = leaf_mig(codes, labels).score
    return _with_interval(score, lambda rows: leaf_mig(codes[rows], labels[rows]).score, len(codes))
