"""Mutual information gap with one call of scikit-learn's `mutual_info_score` for each pair (Chen et al. 2018)."""

from __future__ import annotations

import numpy as np

from pbt_disent.types import FloatArray, IntArray

__all__ = ["gap_by_pairs"]


def gap_by_pairs(codes: FloatArray, factors: IntArray, bins: int = 20) -> float:
    """Return the gap of codes (N, Z), cut in equal-width bins, over factors (N, K)."""
    from sklearn.metrics import mutual_info_score

    binned = [np.digitize(column, np.histogram(column, bins)[1][:-1]) for column in codes.T]
    gaps = []
    for factor in factors.T:
        information = sorted(mutual_info_score(factor, column) for column in binned)
        gaps.append((information[-1] - information[-2]) / mutual_info_score(factor, factor))
    return float(np.mean(gaps))
