"""Metrics as loops over pairs, groups and votes, with scikit-learn and scipy where they have what is needed.

MIG (Chen et al. 2018, arXiv 1802.04942), modularity (Ridgeway and Mozer 2018, arXiv 1802.05312) and IRS (Suter et al.
2019, arXiv 1811.00007) with equal-width bins; UDR (Duan et al. 2020, arXiv 1905.12614) with one lasso or one rank
correlation for each pair of models; the FactorVAE score (Kim and Mnih 2018, arXiv 1802.05983, section 4) and the
beta-VAE score (Higgins et al. 2017, section 3) with a batch of labelled points for each vote. The points of each
factor's values are looked up once, as a plain loop can do as well; or, if asked for, searched in the set for every
batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from pbt_disent.types import FloatArray, IntArray

__all__ = [
    "beta_vae_by_votes",
    "factor_vae_by_votes",
    "irs_by_groups",
    "mig_by_pairs",
    "modularity_by_pairs",
    "udr_by_pairs",
    "udr_spearman_by_pairs",
]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]

MIN_DEVIATION = 0.05
"""The standard deviation from which a latent takes part in the FactorVAE score."""


def mig_by_pairs(codes: FloatArray, factors: IntArray, bins: int = 20) -> float:
    """Return the MIG of codes (N, Z), cut in equal-width bins, over factors (N, K)."""
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
        squared = [mutual_info_score(factor, binned) ** 2 for factor in factors.T]
        rest = sum(squared) - max(squared)
        scores.append(1 - rest / (max(squared) * (len(squared) - 1)) if max(squared) > 0 else 0.0)
    return float(np.mean(scores))


def irs_by_groups(codes: FloatArray, factors: IntArray, bins: int = 20, quantile: float = 0.99) -> float:
    """Return the IRS of codes (N, Z), none of them constant, over factors (N, K)."""
    groups = [np.digitize(factor, np.histogram(factor, bins)[1][:-1]) for factor in factors.T]
    best, weights = [], []
    for column in codes.T:
        largest = np.abs(column - column.mean()).max()
        robustness = []
        for group in groups:
            spreads = []
            for value in np.unique(group):
                values = column[group == value]
                spreads.append(np.percentile(np.abs(values - values.mean()), 100 * quantile))
            robustness.append(1 - np.mean(spreads) / largest)
        best.append(max(robustness))
        weights.append(largest)
    return float(np.average(best, weights=weights))


def udr_by_pairs(
    codes: FloatArray, information: FloatArray, alpha: float = 0.1, threshold: float = 0.01
) -> tuple[FloatArray, FloatArray]:
    """Return the UDR of every model by the lasso, and the absolute coefficients.

    Args:
        codes: The codes, an array of shape (M, N, Z).
        information: The KL divergence of each latent, an array of shape (M, Z).
        alpha: The weight of the L1 penalty.
        threshold: The KL divergence from which a latent is informative.

    Returns:
        Arrays of shape (M,) and (M, M, Z, Z).
    """
    from sklearn.linear_model import Lasso

    active = information > threshold
    standard = (codes - codes.mean(axis=1, keepdims=True)) / codes.std(axis=1, keepdims=True) * active[:, None]

    def relation(i: int, j: int) -> FloatArray:
        return np.asarray(np.abs(Lasso(alpha=alpha).fit(standard[i], standard[j]).coef_.T))

    return _score_models(active, relation)


def udr_spearman_by_pairs(
    codes: FloatArray, information: FloatArray, threshold: float = 0.01
) -> tuple[FloatArray, FloatArray]:
    """Return the UDR of every model by rank correlation, and the absolute correlations, as `udr_by_pairs` does."""
    from scipy.stats import spearmanr

    active = information > threshold
    latents = codes.shape[2]

    def relation(i: int, j: int) -> FloatArray:
        correlations = np.asarray(spearmanr(codes[i], codes[j]).statistic)
        return np.asarray(np.abs(correlations[:latents, latents:]) * np.outer(active[i], active[j]))

    return _score_models(active, relation)


def _score_models(active: BoolArray, relation: Callable[[int, int], FloatArray]) -> tuple[FloatArray, FloatArray]:
    models, latents = active.shape
    strengths = np.zeros((models, models, latents, latents))
    pairs = np.full((models, models), np.nan)
    for i in range(models):
        for j in range(models):
            if i == j:
                continue
            strengths[i, j] = relation(i, j)
            informative = strengths[i, j][active[i]][:, active[j]]
            pairs[i, j] = (_one_to_one(informative, 0) + _one_to_one(informative, 1)) / 2
    return np.nanmedian(pairs, axis=0), strengths


def _one_to_one(strengths: FloatArray, axis: int) -> float:
    """Return the mean over latents of their largest strength, squared, over the sum of all."""
    largest, total = strengths.max(axis=axis), strengths.sum(axis=axis)
    return float(np.mean(np.where(total > 0, largest**2 / np.where(total > 0, total, 1.0), 0.0)))


def factor_vae_by_votes(
    codes: FloatArray,
    factors: IntArray,
    train: int,
    evaluate: int,
    batch: int = 64,
    seed: int = 0,
    *,
    search: bool = False,
) -> float:
    """Return the FactorVAE score of codes (N, Z) over factors (N, K)."""
    rng = np.random.default_rng(seed)
    spread = codes.var(axis=0, ddof=1)
    active = np.flatnonzero(np.sqrt(spread) >= MIN_DEVIATION)
    points = [(_PointSearch if search else _PointTable)(column) for column in factors.T]

    def votes(count: int) -> IntArray:
        table = np.zeros((factors.shape[1], codes.shape[1]), dtype=np.int64)
        for _ in range(count):
            factor, first = int(rng.integers(factors.shape[1])), int(rng.integers(len(codes)))
            batch_codes = codes[points[factor].draw(np.full(batch, factors[first, factor]), rng)]
            table[factor, active[np.argmin(batch_codes.var(axis=0, ddof=1)[active] / spread[active])]] += 1
        return table

    majority = votes(train).argmax(axis=0)
    return float(votes(evaluate)[majority, np.arange(codes.shape[1])].sum() / evaluate)


def beta_vae_by_votes(
    codes: FloatArray,
    factors: IntArray,
    train: int,
    evaluate: int,
    batch: int = 64,
    seed: int = 0,
    *,
    search: bool = False,
) -> float:
    """Return the beta-VAE score of codes (N, Z) over factors (N, K)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    points = [(_PointSearch if search else _PointTable)(column) for column in factors.T]

    def votes(count: int) -> tuple[FloatArray, IntArray]:
        features, labels = [], []
        for _ in range(count):
            factor, first = int(rng.integers(factors.shape[1])), rng.integers(len(codes), size=batch)
            second = points[factor].draw(factors[first, factor], rng)
            features.append(np.abs(codes[first] - codes[second]).mean(axis=0))
            labels.append(factor)
        return np.array(features), np.array(labels)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression().fit(*votes(train))
    return float(model.score(*votes(evaluate)))


class _PointTable:
    """The points of one factor, looked up by its value.

    Args:
        column: The values of the factor, numbered from 0; an array of shape (N,).
    """

    def __init__(self, column: IntArray) -> None:
        self._order = np.argsort(column, kind="stable")
        self._counts = np.bincount(column)
        self._starts = np.cumsum(self._counts) - self._counts

    def draw(self, values: IntArray, rng: np.random.Generator) -> IntArray:
        """Return a point with each of the values (B,), drawn with replacement."""
        offsets = (rng.random(len(values)) * self._counts[values]).astype(np.int64)
        return np.asarray(self._order[self._starts[values] + offsets])


class _PointSearch:
    """The points of one factor, searched whenever a value is asked for.

    Args:
        column: The values of the factor, an array of shape (N,).
    """

    def __init__(self, column: IntArray) -> None:
        self._column = column

    def draw(self, values: IntArray, rng: np.random.Generator) -> IntArray:
        """Return a point with each of the values (B,), drawn with replacement; equal values are searched once."""
        drawn = np.empty(len(values), dtype=np.int64)
        for value in np.unique(values):
            same = values == value
            drawn[same] = rng.choice(np.flatnonzero(self._column == value), size=same.sum())
        return drawn
