"""Unsupervised disentanglement ranking as a loop over pairs: one scikit-learn lasso for each (Duan et al. 2020)."""

from __future__ import annotations

import numpy as np

from pbt_disent.types import FloatArray

__all__ = ["rank_models"]


def rank_models(
    codes: FloatArray, information: FloatArray, alpha: float = 0.1, threshold: float = 0.01
) -> tuple[FloatArray, FloatArray]:
    """Return the scores (M,) of codes (M, N, Z) with information (M, Z), and the absolute coefficients (M, M, Z, Z)."""
    from sklearn.linear_model import Lasso

    active = information > threshold
    standard = (codes - codes.mean(axis=1, keepdims=True)) / codes.std(axis=1, keepdims=True) * active[:, None]
    models, _, latents = codes.shape
    strengths = np.zeros((models, models, latents, latents))
    pairs = np.full((models, models), np.nan)
    for i in range(models):
        for j in range(models):
            if i == j:
                continue
            found = np.abs(Lasso(alpha=alpha).fit(standard[i], standard[j]).coef_.T)
            strengths[i, j] = found
            used = found[active[i]][:, active[j]]
            pairs[i, j] = (_share(used, 0) + _share(used, 1)) / 2
    return np.nanmedian(pairs, axis=0), strengths


def _share(strengths: FloatArray, axis: int) -> float:
    largest, total = strengths.max(axis=axis), strengths.sum(axis=axis)
    return float(np.mean(np.where(total > 0, largest**2 / np.where(total > 0, total, 1.0), 0.0)))
