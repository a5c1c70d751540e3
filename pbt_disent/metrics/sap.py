"""Separated attribute predictability (Kumar et al. 2018, arXiv 1711.00848, section 3).

How much better the best single latent predicts a factor than the second best: for classes the test accuracy of a
linear support vector machine on one latent (C = 0.01, classes balanced, as disentanglement_lib), for continuous
factors the squared correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._fit import quiet_fit
from pbt_disent.metrics._halves import Halves, halves
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics.mig import top_gap
from pbt_disent.types import FloatArray

__all__ = ["SAP", "sap"]

SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True, eq=False, kw_only=True)
class SAP(Result):
    """Separated attribute predictability.

    Args:
        score: mean of `per_factor`.
        per_factor: (K,) gap between the two best latents.
        predictability: (Z, K) accuracy or squared correlation of each latent alone.
    """

    per_factor: FloatArray
    predictability: FloatArray


def sap(
    codes: ArrayLike,
    factors: ArrayLike,
    test_codes: ArrayLike | None = None,
    test_factors: ArrayLike | None = None,
    *,
    continuous: bool = False,
    seed: int = 0,
    budget: str = "protocol",
) -> SAP:
    """Return SAP of codes (N, Z) over factors (N, K).

    Args:
        codes: (N, Z).
        factors: (N, K) class labels, or values that mean something as numbers if `continuous`.
        test_codes: (N', Z), used for classes only; without a test half a third of the points is held out.
        test_factors: (N', K).
        continuous: squared correlation instead of a classifier; uses the training half alone.
        seed: of the split where there is no test half, and of the classifier.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input.
    """
    data = halves(codes, factors, test_codes, test_factors, seed)
    table = _squared_correlations(data) if continuous else _accuracies(data, seed)
    gaps = top_gap(table)
    return SAP(
        score=float(gaps.mean()),
        record=Record(budget, data.sizes, {"continuous": continuous}, seed),
        per_factor=gaps,
        predictability=table,
    )


def _squared_correlations(data: Halves) -> FloatArray:
    codes = data.codes - data.codes.mean(axis=0, dtype=np.float64)
    values = data.values - data.values.mean(axis=0)
    code_variance, value_variance = (codes**2).mean(axis=0), (values**2).mean(axis=0)
    shared = (codes.T @ values / len(codes)) ** 2
    constant = code_variance <= SMALLEST_VARIANCE
    whole = np.where(constant, 1.0, code_variance)[:, None] * value_variance
    return np.asarray(np.where(constant[:, None], 0.0, shared / whole))


def _accuracies(data: Halves, seed: int) -> FloatArray:
    from sklearn.svm import LinearSVC

    table = np.empty((data.codes.shape[1], data.classes.shape[1]))
    for j in range(table.shape[0]):
        train, test = data.codes[:, j : j + 1], data.test_codes[:, j : j + 1]
        for k in range(table.shape[1]):
            model = quiet_fit(LinearSVC(C=0.01, class_weight="balanced", random_state=seed), train, data.classes[:, k])
            table[j, k] = np.mean(model.predict(test) == data.test_classes[:, k])
    return table


def _run(data: Inputs, budget: str, seed: int) -> SAP:
    return sap(data.codes, data.labels, data.test_codes, data.test_factors, seed=seed, budget=budget)


def _run_continuous(data: Inputs, budget: str, seed: int) -> SAP:
    return sap(data.codes, data.labels, data.test_codes, data.test_factors, continuous=True, seed=seed, budget=budget)


METRICS.register("sap")(Metric(SAP, _run, costly=True))
METRICS.register("sap_continuous")(Metric(SAP, _run_continuous))
