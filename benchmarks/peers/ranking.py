"""Unsupervised disentanglement ranking as a loop over pairs of models (Duan et al. 2020).

One lasso of scikit-learn for each pair, or one rank correlation of scipy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pbt_disent.types import FloatArray

__all__ = ["rank_models", "rank_models_by_ranks"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


def rank_models(
    codes: FloatArray, information: FloatArray, alpha: float = 0.1, threshold: float = 0.01
) -> tuple[FloatArray, FloatArray]:
    """Return the scores (M,) of codes (M, N, Z) with information (M, Z), and the absolute coefficients (M, M, Z, Z)."""
    from sklearn.linear_model import Lasso

    active = information > threshold
    standard = (codes - codes.mean(axis=1, keepdims=True)) / codes.std(axis=1, keepdims=True) * active[:, None]

    def relation(i: int, j: int) -> FloatArray:
        return np.asarray(np.abs(Lasso(alpha=alpha).fit(standard[i], standard[j]).coef_.T))

    return _rank(active, relation)


def rank_models_by_ranks(
    codes: FloatArray, information: FloatArray, threshold: float = 0.01
) -> tuple[FloatArray, FloatArray]:
    """Return what `rank_models` returns, with absolute rank correlations."""
    from scipy.stats import spearmanr

    active = information > threshold
    latents = codes.shape[2]

    def relation(i: int, j: int) -> FloatArray:
        together = np.asarray(spearmanr(codes[i], codes[j]).statistic)
        return np.asarray(np.abs(together[:latents, latents:]) * np.outer(active[i], active[j]))

    return _rank(active, relation)


def _rank(active: BoolArray, relation: Callable[[int, int], FloatArray]) -> tuple[FloatArray, FloatArray]:
    models, latents = active.shape
    strengths = np.zeros((models, models, latents, latents))
    pairs = np.full((models, models), np.nan)
    for i in range(models):
        for j in range(models):
            if i == j:
                continue
            found = strengths[i, j] = relation(i, j)
            used = found[active[i]][:, active[j]]
            pairs[i, j] = (_share(used, 0) + _share(used, 1)) / 2
    return np.nanmedian(pairs, axis=0), strengths


def _share(strengths: FloatArray, axis: int) -> float:
    largest, total = strengths.max(axis=axis), strengths.sum(axis=axis)
    return float(np.mean(np.where(total > 0, largest**2 / np.where(total > 0, total, 1.0), 0.0)))
