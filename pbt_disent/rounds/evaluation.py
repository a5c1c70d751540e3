"""How well a finished run's models score, and how sure that is: on held-out images, and against the true factors.

Intervals of the scores by which models were chosen do not take into account that the best of many was chosen. Scores
on images that were never trained on do not choose among images, and that is all they correct. True factors are asked
for here alone, and by the methods and objectives that are supervised by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from pbt_disent.config import Config
from pbt_disent.data.base import UNKNOWN, ImageData
from pbt_disent.metrics import (
    MIG,
    MINIMUM_POINTS,
    Interval,
    interval_ends,
    interval_over_points,
    leaf_mig,
    leaf_runs_mig,
    mig,
    reconstruction_error,
)
from pbt_disent.models import LatentModel
from pbt_disent.models.export import encode_images
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

__all__ = ["HELD_OUT_TITLES", "compare_with_factors", "score_held_out", "selection_intervals", "varying_factors"]

FEW_RESAMPLES = 10
HELD_OUT_POINTS = 10_000
TRUE_FACTOR_POINTS = 50_000
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
        For each of the two, the ends of the 95 % `interval`, and what it is `over`: ``models`` or ``points`` (images).
        Both are None where there is no interval.
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
    leaf_runs: list[list[tuple[FloatArray, FloatArray]]] = []
    for leaf_run in result.leaf_runs:
        levels = []
        for level in leaf_run.levels:
            if len(level.images) >= max(fitness.min_points, len(model.latents)):
                rows = sample(
                    config.seed, np.arange(len(level.images)), fitness.points, "final", leaf_run.number, level.path
                )
                levels.append((model.encode(images[level.images[rows]]), level.codes[rows]))
        if levels:
            leaf_runs.append(levels)
    all_levels = list(chain.from_iterable(leaf_runs))
    if not all_levels:
        return None

    def statistic(rows: Sequence[IntArray], _: int) -> float:
        parts = iter([(codes[part], labels[part]) for (codes, labels), part in zip(all_levels, rows, strict=True)])
        resampled = [[next(parts) for _ in leaf_run] for leaf_run in leaf_runs]
        return float(leaf_runs_mig(resampled, bins=fitness.bins).score)

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
    pixels = images[held_out[:HELD_OUT_POINTS]]
    final = LatentModel.from_checkpoint(blobs.get(last.checkpoint))
    codes = final.encode(pixels)
    originals = pixels[:1000]
    errors = reconstruction_error(originals / np.float32(255), final.decode(codes[: len(originals)]))
    scores = {
        "udr": _udr(config.population.fitness, first, blobs, pixels),
        "leaf_mig": _leaf_mig(config, result, blobs, pixels, codes),
        "error": _with_interval(errors.score, lambda rows: float(errors.per_image[rows].mean()), len(originals)),
    }
    return {
        "num_images": len(pixels),
        **{key: score for key, (score, _) in scores.items()},
        "intervals": {key: interval for key, (_, interval) in scores.items()},
    }


def _with_interval(score: float, statistic: Callable[[IntArray], float], points: int) -> ScoreWithInterval:
    return score, interval_ends(interval_over_points(score, lambda rows, _: statistic(rows[0]), [points]))


def _udr(fitness: Fitness, best: Best, blobs: BlobStore, images: UInt8Array) -> ScoreWithInterval:
    if len(best.replicas) < 2:
        return None, None
    udr = fitness if isinstance(fitness, UDRFitness) else UDRFitness()
    models = [LatentModel.from_checkpoint(blobs.get(checkpoint)) for checkpoint in best.replicas]
    images = images[: udr.points]
    if len(images) < len(models[0].latents):
        return None, None
    encoded = [model.posterior(images) for model in models]
    codes, information = np.stack([part.codes for part in encoded]), np.stack([part.information for part in encoded])
    score = udr.rank(codes, information).score
    return _with_interval(score, lambda rows: udr.rank(codes[:, rows], information).score, codes.shape[1])


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


def compare_with_factors(model: LatentModel, data: ImageData, images: IntArray | None = None) -> Json | None:
    """Compute the MIG of each true factor (arXiv 1802.04942, eq. 6; 20 bins, posterior means).

    A label that no two images share, such as a running number, is no factor.

    Args:
        model: The finished model.
        data: The set of images.
        images: The indices of the images to use; all by default. At most 50,000 are used, by a fixed permutation.

    Returns:
        ``mig``, its 95 % ``interval`` over the images, ``points``, and ``per_factor`` for each factor that varies: its
        name, its gap (I1 - I2) / H, its latent, and the share of its entropy that each latent explains. None where
        there are no true factors, or where there are fewer images than 20 or than latents.
    """
    indices = np.arange(len(data)) if images is None else images
    rows = indices[np.random.default_rng(0).permutation(len(indices))[:TRUE_FACTOR_POINTS]]
    factors = data.factors(rows)
    if factors is None or len(rows) < max(MINIMUM_POINTS, len(model.latents)):
        return None
    columns = [column for column in varying_factors(factors) if len(np.unique(factors[:, column])) < len(rows)]
    if not columns:
        return None
    codes = encode_images(model, data, rows)
    true_factors = factors[:, columns]
    result = mig(codes, true_factors)
    interval = interval_over_points(
        result.score,
        lambda samples, _: mig(codes[samples[0]], true_factors[samples[0]]).score,
        [len(codes)],
        bounds=MIG.bounds,
    )
    shares = result.mutual_information / result.factor_entropy
    return {
        "mig": result.score,
        "interval": interval_ends(interval),
        "points": len(rows),
        "per_factor": [
            {
                "factor": data.factor_names[column],
                "gap": float(result.per_factor[index]),
                "latent": int(result.latent_of_factor[index]),
                "shares": [float(share) for share in shares[:, index]],
            }
            for index, column in enumerate(columns)
        ],
    }


def varying_factors(factors: IntArray) -> list[int]:
    """Return the columns of factors (N, K) that are known for every image and have more than one value."""
    return [
        column
        for column in range(factors.shape[1])
        if len(np.unique(factors[:, column])) > 1 and not np.any(factors[:, column] == UNKNOWN)
    ]
