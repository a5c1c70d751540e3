"""Downstream accuracy by sample size (Locatello et al. 2019, arXiv 1811.12359, section 5.5).

For every factor a classifier on all latents, fitted on the first 10, 100, 1,000 and 10,000 training points and
measured on the test half: logistic regression with 5-fold cross-validation over 10 penalties, or boosted trees.
The ratio of the accuracy at 100 points to that at 10,000 is the paper's statistical efficiency.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError, nearest
from pbt_disent.metrics._boosting import boosted_trees
from pbt_disent.metrics._exact_trees import exact_trees
from pbt_disent.metrics._fit import quiet_fit
from pbt_disent.metrics._halves import halves
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result, check_budget
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Downstream", "downstream"]

SIZES = {"protocol": (10, 100, 1_000, 10_000), "fast": (10, 100, 1_000)}
FOLDS = 5
PENALTIES = 10
CLASSIFIERS = ("logistic", "boosted")

Classifier = Any


@dataclass(frozen=True, eq=False, kw_only=True)
class Downstream(Result):
    """Downstream accuracy.

    Args:
        score: test accuracy at the largest size, mean over the factors.
        sizes: (S,) numbers of training points, those not available left out.
        accuracy: (S, K) test accuracy.
        efficiency: (S,) mean accuracy at each size divided by that at the largest.
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
    """Return the accuracy with which factors (N, K) are read from codes (N, Z), by number of training points.

    Args:
        codes: (N, Z).
        factors: (N, K) class labels.
        test_codes: (N', Z); without a test half a third of the points is held out.
        test_factors: (N', K).
        classifier: ``logistic`` or ``boosted``.
        sizes: numbers of training points; by budget up to 10,000 (protocol) or 1,000 (fast). Sizes above the number
            of training points are left out.
        seed: of the split and of the trees.
        budget: ``protocol`` cross-validates the penalty wherever every training fold holds every class, and fits
            exact trees; ``fast`` keeps scikit-learn's default penalty and fits histogram trees.

    Raises:
        UserError: bad input, an unknown classifier, or no size that is available.
    """
    check_budget(budget)
    if classifier not in CLASSIFIERS:
        raise UserError(f"classifier {classifier!r}", "is no known classifier", nearest(classifier, CLASSIFIERS))
    data = halves(codes, factors, test_codes, test_factors, seed)
    asked = sorted(set(sizes or SIZES[budget]))
    usable = tuple(size for size in asked if 1 <= size <= len(data.codes))
    if not usable:
        raise UserError(
            f"sizes {asked} with {len(data.codes)} training points", "must fit", f"give a size up to {len(data.codes)}"
        )
    predict = _boosted if classifier == "boosted" else _logistic
    predicted = [predict(data.codes[:size], data.classes[:size], data.test_codes, seed, budget) for size in usable]
    accuracy = np.array([(one == data.test_classes).mean(axis=0) for one in predicted])
    means = accuracy.mean(axis=1)
    return Downstream(
        score=float(means[-1]),
        record=Record(budget, data.sizes, {"classifier": classifier}, seed),
        sizes=usable,
        accuracy=accuracy,
        efficiency=means / means[-1] if means[-1] > 0 else np.zeros_like(means),
    )


def _boosted(codes: FloatArray, classes: IntArray, test_codes: FloatArray, seed: int, budget: str) -> IntArray:
    """Return the classes (N', K) of the test codes that boosted trees predict."""
    factors = range(classes.shape[1])
    if budget == "fast":
        fitted = [boosted_trees(codes, classes[:, k], test_codes, seed=seed) for k in factors]
    else:
        fitted = exact_trees(codes, classes, test_codes, factors, seed)
    return np.stack([one.test_predicted for one in fitted], axis=1)


def _logistic(codes: FloatArray, classes: IntArray, test_codes: FloatArray, seed: int, budget: str) -> IntArray:
    """Return the classes (N', K) of the test codes that logistic regression predicts; nothing is drawn by the seed."""
    columns = []
    for labels in classes.T:
        if len(np.unique(labels)) == 1:
            columns.append(np.full(len(test_codes), labels[0]))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            columns.append(quiet_fit(_regression(labels, budget), codes, labels).predict(test_codes))
    return np.stack(columns, axis=1)


def _regression(labels: IntArray, budget: str) -> Classifier:
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.model_selection import KFold

    if budget == "fast" or len(labels) < FOLDS:
        return LogisticRegression()
    folds = list(KFold(n_splits=FOLDS).split(labels))
    complete = all(len(np.unique(labels[train])) == len(np.unique(labels)) for train, _ in folds)
    return LogisticRegressionCV(Cs=PENALTIES, cv=folds) if complete else LogisticRegression()


def _run_logistic(data: Inputs, budget: str, seed: int) -> Downstream:
    return downstream(data.codes, data.labels, data.test_codes, data.test_factors, seed=seed, budget=budget)


def _run_boosted(data: Inputs, budget: str, seed: int) -> Downstream:
    return downstream(
        data.codes,
        data.labels,
        data.test_codes,
        data.test_factors,
        classifier="boosted",
        seed=seed,
        budget=budget,
    )


METRICS.register("downstream_logistic")(Metric(Downstream, _run_logistic, costly=True))
METRICS.register("downstream_boosted")(Metric(Downstream, _run_boosted, costly=True))
