"""Codes and factors as a half-disentangled model would give them: what the metrics are timed on."""

from __future__ import annotations

import numpy as np

from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["SPRITES_SIZES", "labelled_codes", "models_of_one_set"]

SPRITES_SIZES = (3, 6, 40, 32, 32)
"""Levels of the factors of dSprites."""
NOISE = 0.02


def labelled_codes(points: int, latents: int = 10, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Return codes (N, Z) and factors (N, 5): three latents follow one factor each, two mix the other two factors.

    The remaining latents are noise.
    """
    rng = Streams(seed).generator("bench", "labelled codes")
    factors = np.stack([rng.integers(size, size=points) for size in SPRITES_SIZES], axis=1)
    followed = factors / np.array(SPRITES_SIZES)
    followed[:, 3:] = followed[:, 3:] @ np.array([[1.0, 1.0], [1.0, -1.0]])
    followed += NOISE * rng.normal(size=followed.shape)
    return np.concatenate([followed, rng.normal(size=(points, latents - len(SPRITES_SIZES)))], axis=1), factors


def models_of_one_set(models: int, points: int, latents: int = 10, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Return codes (M, N, Z) of models that agree in part, and their information (M, Z), nothing for some latents."""
    rng = Streams(seed).generator("bench", "models")
    shared = rng.normal(size=(points, latents))
    codes = np.empty((models, points, latents))
    for model in codes:
        signs = rng.choice([-1.0, 1.0], latents)
        model[:] = shared[:, rng.permutation(latents)] * signs + 0.5 * rng.normal(size=shared.shape)
    return codes, np.where(rng.random((models, latents)) < 0.8, 2.0, 0.001)
