"""The scores of a finished run on the images that it was never trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pbt_disent.config import Config
from pbt_disent.metrics import (
    MINIMUM_POINTS,
    UDR,
    interval_ends,
    interval_over_points,
    leaf_mig,
    reconstruction_error,
    udr,
)
from pbt_disent.models import LatentModel
from pbt_disent.population.engine import Best
from pbt_disent.rounds.method import Result
from pbt_disent.store.blobs import BlobStore
from pbt_disent.types import FloatArray, IntArray, Json, UInt8Array

__all__ = ["LABELS", "score_held_out"]

Measured = tuple[float | None, list[float] | None]
"""A score and its interval, none where it cannot be measured."""

POINTS = 10_000
LABELS = {"udr": "UDR of the first round's best member", "leaf_mig": "leaf-MIG", "error": "squared error a pixel"}
"""What people are told of the scores, by key."""


def score_held_out(
    config: Config, result: Result, blobs: BlobStore, images: UInt8Array, held_out: IntArray | None
) -> Json | None:
    """Score a run's models on held-out images, or return none where there are too few (fewer than 20).

    Args:
        config: of the run.
        result: of the run.
        blobs: where the checkpoints are.
        images: (N, C, H, W) all images; a memory map.
        held_out: indices of the held-out ones, of which the first 10,000 count.

    Returns:
        `images`; `udr` of the best member of the first round (none if it is a single model); `leaf_mig` of the final
        model on the labels that the first round's best model gives to these images (none unless both exist); both none
        where a model has more latents than there are images;
        `error`, the mean squared error of the final model's reconstructions per pixel, of values in 0 to 1; and
        `intervals`, by the same keys, of 95 % over the images (`chosen_intervals` says how UDR spreads over models).
    """
    if held_out is None or len(held_out) < MINIMUM_POINTS or result.first.best is None or result.last.best is None:
        return None
    seen = images[held_out[:POINTS]]
    final = _model(blobs, result.last.best.checkpoint)
    codes = final.encode(seen)
    shown = seen[:1000]
    restored = final.decode(codes[: len(shown)])
    errors = reconstruction_error(shown / np.float32(255), restored)
    found = {
        "udr": _udr(config, result.first.best, blobs, seen),
        "leaf_mig": _leaf_mig(config, result, blobs, seen, codes),
        "error": _with_interval(errors.score, lambda rows: float(errors.per_image[rows].mean()), len(shown)),
    }
    return {
        "images": len(seen),
        **{key: score for key, (score, _) in found.items()},
        "intervals": {key: interval for key, (_, interval) in found.items()},
    }


def _with_interval(score: float, statistic: Callable[[IntArray], float], points: int) -> Measured:
    return score, interval_ends(interval_over_points(score, lambda rows, _: statistic(rows[0]), [points]))


def _model(blobs: BlobStore, checkpoint: str) -> LatentModel:
    return LatentModel.from_checkpoint(blobs.get(checkpoint))


def _udr(config: Config, best: Best, blobs: BlobStore, images: UInt8Array) -> Measured:
    if len(best.replicas) < 2:
        return None, None
    models = [_model(blobs, checkpoint) for checkpoint in best.replicas]
    images = images[: config.udr.points]
    if len(images) < len(models[0].latents):
        return None, None
    parts = [model.posterior(images) for model in models]
    codes, information = np.stack([part.codes for part in parts]), np.stack([part.information for part in parts])

    def ranking(rows: IntArray | slice) -> UDR:
        options = config.udr
        return udr(
            codes[:, rows],
            information,
            options.correlation,
            alpha=options.alpha,
            threshold=options.information_threshold,
        )

    whole = ranking(slice(None))
    return _with_interval(whole.score, lambda rows: ranking(rows).score, codes.shape[1])


def _leaf_mig(config: Config, result: Result, blobs: BlobStore, images: UInt8Array, codes: FloatArray) -> Measured:
    if result.first.best is None or result.last is result.first or len(codes) < codes.shape[1]:
        return None, None
    first = _model(blobs, result.first.best.checkpoint).posterior(images)
    learned = first.information > config.rounds.information_threshold
    if not learned.any():
        return None, None
    labels = first.codes[:, learned]
    whole = leaf_mig(codes, labels).score
    return _with_interval(whole, lambda rows: leaf_mig(codes[rows], labels[rows]).score, len(codes))
