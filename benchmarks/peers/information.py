"""Scores of codes against factors, pair by pair and group by group, with scikit-learn where it has what they need.

MIG (Chen et al. 2018), modularity (Ridgeway and Mozer 2018) and IRS (Suter et al. 2019), with equal-width bins.
"""

from __future__ import annotations

import numpy as np

from pbt_disent.types import FloatArray, IntArray

__all__ = ["gap_by_pairs", "modularity_by_pairs", "robustness_by_groups"]


def gap_by_pairs(codes: FloatArray, factors: IntArray, bins: int = 20) -> float:
    """Return the gap of codes (N, Z), cut in equal-width bins, over factors (N, K)."""
    from sklearn.metrics import mutual_info_score

    binned = [np.digitize(column, np.histogram(column, bins)[1][:-1]) for column in codes.T]
    gaps = []
    for factor in factors.T:
        information = sorted(mutual_info_score(factor, column) for column in binned)
        gaps.append((information[-1] - information[-2]) / mutual_info_score(factor, factor))
    return float(np.mean(gaps))


def modularity_by_pairs(codes: FloatArray, factors: IntArray, bins: int = 20) -> float:
    """Return the modularity of codes (N, Z), cut in equal-width bins, over factors (N, K)."""
    from sklearn.metrics import mutual_info_score

    scores = []
    for column in codes.T:
        binned = np.digitize(column, np.histogram(column, bins)[1][:-1])
        known = [mutual_info_score(factor, binned) ** 2 for factor in factors.T]
        rest = sum(known) - max(known)
        scores.append(1 - rest / (max(known) * (len(known) - 1)) if max(known) > 0 else 0.0)
    return float(np.mean(scores))


def robustness_by_groups(codes: FloatArray, factors: IntArray, bins: int = 20, quantile: float = 0.99) -> float:
    """Return the interventional robustness of codes (N, Z), none of them constant, over factors (N, K)."""
    groups = [np.digitize(factor, np.histogram(factor, bins)[1][:-1]) for factor in factors.T]
    best, weights = [], []
    for column in codes.T:
        largest = np.abs(column - column.mean()).max()
        robust = []
        for group in groups:
            spreads = []
            for value in np.unique(group):
                inside = column[group == value]
                spreads.append(np.percentile(np.abs(inside - inside.mean()), 100 * quantile))
            robust.append(1 - np.mean(spreads) / largest)
        best.append(max(robust))
        weights.append(largest)
    return float(np.average(best, weights=weights))
