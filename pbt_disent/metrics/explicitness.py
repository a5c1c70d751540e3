"""Explicitness (Ridgeway and Mozer 2018, arXiv 1802.05312, section 3): can a linear classifier read every factor?

For every factor a logistic regression on all latents, standardised by the training half, and the area under the
ROC curve of each of its classes against the rest, averaged over classes and factors. A chance classifier has 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._fit import quiet_fit
from pbt_disent.metrics._halves import halves, standardised
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Explicitness", "explicitness"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Explicitness(Result):
    """Explicitness.

    Args:
        score: on the test half, the mean of `per_factor`.
        train_score: the same on the training half.
        per_factor: (K,) mean area under the curve over the factor's classes, test half.
    """

    train_score: float
    per_factor: FloatArray


def explicitness(
    codes: ArrayLike,
    factors: ArrayLike,
    test_codes: ArrayLike | None = None,
    test_factors: ArrayLike | None = None,
    *,
    seed: int = 0,
    budget: str = "protocol",
) -> Explicitness:
    """Return the explicitness of codes (N, Z) over factors (N, K), fitted on one half and measured on the other.

    Args:
        codes: (N, Z).
        factors: (N, K) class labels.
        test_codes: (N', Z); without a test half a third of the points is held out.
        test_factors: (N', K).
        seed: of the split where there is no test half.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input.
    """
    from sklearn.linear_model import LogisticRegression

    data = halves(codes, factors, test_codes, test_factors, seed)
    train, test = standardised(data.codes, data.codes), standardised(data.codes, data.test_codes)
    areas = np.empty((2, data.classes.shape[1]))
    for k in range(data.classes.shape[1]):
        model = quiet_fit(LogisticRegression(), train, data.classes[:, k])
        for row, (x, y) in enumerate([(train, data.classes), (test, data.test_classes)]):
            areas[row, k] = _mean_area(y[:, k], model.classes_, model.predict_proba(x))
    return Explicitness(
        score=float(areas[1].mean()),
        record=Record(budget, data.sizes, seed=seed),
        train_score=float(areas[0].mean()),
        per_factor=areas[1],
    )


def _mean_area(labels: IntArray, known: IntArray, probabilities: FloatArray) -> float:
    """Return the mean area over the known classes that the labels both hold and do not hold, 0.5 if there is none."""
    from scipy.stats import rankdata

    areas = []
    for label, column in zip(known, probabilities.T, strict=True):
        inside = labels == label
        positives, negatives = np.count_nonzero(inside), np.count_nonzero(~inside)
        if positives and negatives:
            ranks = rankdata(column)[inside].sum()
            areas.append((ranks - positives * (positives + 1) / 2) / (positives * negatives))
    return float(np.mean(areas)) if areas else 0.5


def _run(data: Inputs, budget: str, seed: int) -> Explicitness:
    return explicitness(data.codes, data.labels, data.test_codes, data.test_factors, seed=seed, budget=budget)


METRICS.register("explicitness")(Metric(Explicitness, _run, costly=True))
