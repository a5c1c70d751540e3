"""Downstream accuracy by number of training points (Locatello et al. 2019, arXiv 1811.12359, section 5.5)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError, nearest
from pbt_disent.metrics._boosted_trees import fit_trees
from pbt_disent.metrics._supervised import fit_quietly, split_train_test
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, check_metric_budget, register_metric
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Downstream", "downstream"]

SIZES = {"protocol": (10, 100, 1_000, 10_000), "fast": (10, 100, 1_000)}
FOLDS = 5
PENALTIES = 10
CLASSIFIERS = ("logistic", "boosted")


@dataclass(frozen=True, eq=False, kw_only=True)
class Downstream(MetricResult):
    """Downstream accuracy at S numbers of training points.

    Args:
        score: The test accuracy at the largest size, averaged over the factors.
        sizes: The numbers of training points; those that are not available are left out.
        accuracy: The test accuracy, of shape (S, K).
        efficiency: The mean accuracy at each size divided by that at the largest, of shape (S,).
    """

    sizes: tuple[int, ...]
    accuracy: FloatArray
    efficiency: FloatArray


def downstream(
    codes: ArrayLike,
    factors: ArrayLike,
    test_codes: ArrayLike | None = None,
    test_factors: ArrayLike | None = None,
    *,
    classifier: str = "logistic",
    sizes: Sequence[int] | None = None,
    seed: int = 0,
    budget: str = "protocol",
) -> Downstream:
    """Return the test accuracy of classifiers that read the factors from the codes (arXiv 1811.12359, section 5.5).

    For every factor a classifier on all latents is fitted on the first 10, 100, 1,000 and 10,000 training points:
    logistic regression with 5-fold cross-validation over 10 penalties, or boosted trees. The ratio of the accuracy at
    100 points to that at 10,000 is the paper's statistical efficiency.

    Args:
        codes: The training codes, an array of shape (N, Z).
        factors: The class labels of the factors, an array of shape (N, K).
        test_codes: The test codes, an array of shape (N', Z). Without them a third of the points is held out.
        test_factors: The class labels of the test codes, an array of shape (N', K).
        classifier: The classifier, ``logistic`` or ``boosted``.
        sizes: The numbers of training points; by default up to 10,000 (``protocol``) or 1,000 (``fast``). Sizes above
            the number of training points are left out.
        seed: The seed of the split and of the trees.
        budget: The budget: ``protocol`` cross-validates the penalty wherever every fold holds every class, and fits
            scikit-learn's trees. ``fast`` keeps scikit-learn's default penalty and fits trees from histograms.

    Raises:
        UserError: The input is bad, the classifier is unknown, or no size is available.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import downstream
        >>> rng = np.random.default_rng(0)
        >>> factors = rng.integers([2, 2], size=(900, 2))
        >>> result = downstream(factors + 0.3 * rng.normal(size=(900, 2)), factors, budget="fast")
        >>> result.sizes, round(result.score, 2), result.efficiency.round(2).tolist()
        ((10, 100), 0.95, [0.85, 1.0])
    """
    check_metric_budget(budget)
    if classifier not in CLASSIFIERS:
        raise UserError(f"classifier {classifier!r}", "is no known classifier", nearest(classifier, CLASSIFIERS))
    split = split_train_test(codes, factors, test_codes, test_factors, seed)
    requested = sorted(set(sizes or SIZES[budget]))
    available = tuple(size for size in requested if 1 <= size <= len(split.codes))
    if not available:
        raise UserError(
            f"sizes {requested} with {len(split.codes)} training points",
            "must fit",
            f"give a size up to {len(split.codes)}",
        )
    predict = _predict_boosted if classifier == "boosted" else _predict_logistic
    accuracy = np.empty((len(available), split.classes.shape[1]))
    for row, size in enumerate(available):
        predictions = predict(split.codes[:size], split.classes[:size], split.test_codes, seed, budget)
        accuracy[row] = (predictions == split.test_classes).mean(axis=0)
    means = accuracy.mean(axis=1)
    return Downstream(
        score=float(means[-1]),
        provenance=Provenance(budget, split.sizes, {"classifier": classifier}, seed),
        sizes=available,
        accuracy=accuracy,
        efficiency=means / means[-1] if means[-1] > 0 else np.zeros_like(means),
    )


def _predict_boosted(codes: FloatArray, classes: IntArray, test_codes: FloatArray, seed: int, budget: str) -> IntArray:
    """Return the classes (N', K) of the test codes that boosted trees predict."""
    fitted = fit_trees(codes, classes, test_codes, budget=budget, seed=seed)
    return np.stack([trees.test_predictions for trees in fitted], axis=1)


def _predict_logistic(codes: FloatArray, classes: IntArray, test_codes: FloatArray, seed: int, budget: str) -> IntArray:
    """Return the classes (N', K) of the test codes that logistic regression predicts; the seed is not used."""
    columns = []
    for labels in classes.T:
        if len(np.unique(labels)) == 1:
            columns.append(np.full(len(test_codes), labels[0]))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            columns.append(fit_quietly(_logistic_regression(labels, budget), codes, labels).predict(test_codes))
    return np.stack(columns, axis=1)


def _logistic_regression(labels: IntArray, budget: str) -> Any:
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.model_selection import KFold

    if budget == "fast" or len(labels) < FOLDS:
        return LogisticRegression()
    folds = list(KFold(n_splits=FOLDS).split(labels))
    complete = all(len(np.unique(labels[train])) == len(np.unique(labels)) for train, _ in folds)
    return LogisticRegressionCV(Cs=PENALTIES, cv=folds) if complete else LogisticRegression()


@register_metric("downstream_logistic", Downstream, costly=True)
def _run_logistic(inputs: MetricInputs, budget: str, seed: int) -> Downstream:
    return downstream(*inputs.train_and_test, seed=seed, budget=budget)


@register_metric("downstream_boosted", Downstream, costly=True)
def _run_boosted(inputs: MetricInputs, budget: str, seed: int) -> Downstream:
    return downstream(*inputs.train_and_test, classifier="boosted", seed=seed, budget=budget)
