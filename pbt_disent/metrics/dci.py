"""Disentanglement, completeness and informativeness (Eastwood and Williams 2018), from boosted trees.

For every factor a classifier is fitted on all latents; R (Z, K) holds the importances of latents for factors. Then

    disentanglement of latent j  = 1 - H_K(R_j. / sum),   weighted by the latent's share of all importance,
    completeness of factor k     = 1 - H_Z(R_.k / sum),   weighted by the factor's share,
    informativeness              = test accuracy, mean over the factors,

with entropies to base K and Z. ``protocol`` fits scikit-learn's `GradientBoostingClassifier` with its defaults, as
disentanglement_lib; ``fast`` fits the same trees from histograms, at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._boosting import boosted_trees
from pbt_disent.metrics._exact_trees import exact_trees
from pbt_disent.metrics._halves import Halves, halves
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result, check_budget
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["DCI", "dci", "importance_scores"]

SMALLEST_SHARE = 1e-11
FAST_POINTS = (2_000, 1_000)


@dataclass(frozen=True, eq=False, kw_only=True)
class DCI(Result):
    """Disentanglement, completeness, informativeness.

    Args:
        score: the disentanglement.
        disentanglement: does every latent matter for one factor only?
        completeness: does every factor depend on one latent only?
        informativeness: mean test accuracy.
        train_informativeness: mean training accuracy.
        importance: (Z, K), columns sum to 1; a column is 0 where no split helped.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    train_informativeness: float
    importance: FloatArray


def dci(
    codes: ArrayLike,
    factors: ArrayLike,
    test_codes: ArrayLike | None = None,
    test_factors: ArrayLike | None = None,
    *,
    seed: int = 0,
    budget: str = "protocol",
) -> DCI:
    """Return DCI of codes (N, Z) over factors (N, K), fitted on one half and measured on the other.

    Args:
        codes: (N, Z).
        factors: (N, K) class labels.
        test_codes: (N', Z); without a test half a third of the points is held out.
        test_factors: (N', K).
        seed: of the split and of the trees.
        budget: ``protocol`` uses all points and exact trees (minutes at 10,000 points with many classes); ``fast``
            draws 2,000 training and 1,000 test points at most, and histogram trees.

    Raises:
        UserError: bad input.
    """
    check_budget(budget)
    data = halves(codes, factors, test_codes, test_factors, seed)
    if budget == "fast":
        data = _fewer(data, *FAST_POINTS, seed)
    factors = range(data.classes.shape[1])
    if budget == "fast":
        fitted = [boosted_trees(data.codes, data.classes[:, k], data.test_codes, seed=seed) for k in factors]
    else:
        fitted = exact_trees(data.codes, data.classes, data.test_codes, factors, seed)
    importance = np.stack([one.importance for one in fitted], axis=1)
    disentanglement, completeness = importance_scores(importance)
    return DCI(
        score=disentanglement,
        record=Record(budget, data.sizes, {"trees": "exact" if budget == "protocol" else "histogram"}, seed),
        disentanglement=disentanglement,
        completeness=completeness,
        informativeness=_accuracy([one.test_predicted for one in fitted], data.test_classes),
        train_informativeness=_accuracy([one.predicted for one in fitted], data.classes),
        importance=importance,
    )


def importance_scores(importance: FloatArray) -> tuple[float, float]:
    """Return disentanglement and completeness of an importance matrix (Z, K); both are 0 if nothing matters.

    With one factor every latent that matters is disentangled, with one latent every factor is complete.
    """
    if importance.sum() == 0:
        return 0.0, 0.0
    return _concentration(importance.T), _concentration(importance)


def _concentration(table: FloatArray) -> float:
    """Return the mean over the columns of 1 - entropy to the base of their length, weighted by the columns' sums."""
    shares = table + SMALLEST_SHARE
    shares = shares / shares.sum(axis=0)
    entropy = -(shares * np.log(shares)).sum(axis=0) / np.log(max(len(table), 2))
    return float(((1.0 - entropy) * table.sum(axis=0) / table.sum()).sum())


def _accuracy(predicted: Sequence[IntArray], classes: IntArray) -> float:
    """Return the mean over factors of the share of points whose class (N, K) is predicted."""
    return float(np.mean([np.mean(one == truth) for one, truth in zip(predicted, classes.T, strict=True)]))


def _fewer(data: Halves, train: int, test: int, seed: int) -> Halves:
    """Return at most the given numbers of points of each half, drawn by `seed`."""
    rng = Streams(seed).generator("metrics", "dci")
    rows, test_rows = (
        np.arange(size) if size <= limit else np.sort(rng.choice(size, limit, replace=False))
        for size, limit in ((len(data.codes), train), (len(data.test_codes), test))
    )
    return Halves(
        data.codes[rows],
        data.classes[rows],
        data.values[rows],
        data.test_codes[test_rows],
        data.test_classes[test_rows],
    )


def _run(data: Inputs, budget: str, seed: int) -> DCI:
    return dci(data.codes, data.labels, data.test_codes, data.test_factors, seed=seed, budget=budget)


METRICS.register("dci")(Metric(DCI, _run, parts=("disentanglement", "completeness", "informativeness"), costly=True))
