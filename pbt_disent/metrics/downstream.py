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
from pbt_disent.metrics._fit import quiet_fit
from pbt_disent.metrics._halves import Halves, halves
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
    factor_numbers = range(data.classes.shape[1])
    accuracy = np.array(
        [[_accuracy(data, k, size, classifier, seed, budget) for k in factor_numbers] for size in usable]
    )
    means = accuracy.mean(axis=1)
    return Downstream(
        score=float(means[-1]),
        record=Record(budget, data.sizes, {"classifier": classifier}, seed),
        sizes=usable,
        accuracy=accuracy,
        efficiency=means / means[-1] if means[-1] > 0 else np.zeros_like(means),
    )


def _accuracy(data: Halves, factor: int, size: int, classifier: str, seed: int, budget: str) -> float:
    labels, truth = data.classes[:size, factor], data.test_classes[:, factor]
    if len(np.unique(labels)) == 1:
        return float(np.mean(truth == labels[0]))
    if classifier == "boosted" and budget == "fast":
        predicted = boosted_trees(data.codes[:size], labels, data.test_codes, seed=seed).test_predicted
    else:
        model = _boosted(seed) if classifier == "boosted" else _logistic(labels, budget)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            predicted = quiet_fit(model, data.codes[:size], labels).predict(data.test_codes)
    return float(np.mean(predicted == truth))


def _boosted(seed: int) -> Classifier:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(random_state=seed)


def _logistic(labels: IntArray, budget: str) -> Classifier:
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
