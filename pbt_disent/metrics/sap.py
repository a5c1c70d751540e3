"""Separated attribute predictability (Kumar et al. 2018, arXiv 1711.00848, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._supervised import TrainTestSplit, fit_quietly, split_train_test
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, register_metric
from pbt_disent.metrics.mig import largest_gap
from pbt_disent.types import FloatArray

__all__ = ["SAP", "sap"]

SMALLEST_VARIANCE = 1e-12
"""The variance below which a latent counts as constant."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SAP(MetricResult):
    """Separated attribute predictability.

    Args:
        score: The mean of `per_factor`.
        per_factor: The gap between the two best latents of each factor, of shape (K,).
        predictability: The accuracy or squared correlation of each latent alone, of shape (Z, K).
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
    """Return SAP (arXiv 1711.00848, section 3): how much better the best latent predicts a factor than the second best.

    For classes, predictability is the test accuracy of a linear support vector machine on one latent (C = 0.01 with
    balanced classes, as in disentanglement_lib). For continuous factors it is the squared correlation.

    Args:
        codes: The training codes, an array of shape (N, Z).
        factors: The class labels of the factors, an array of shape (N, K), or numbers that have an order and a scale
            if `continuous`.
        test_codes: The test codes, an array of shape (N', Z). Without them a third of the points is held out. Squared
            correlations do not use them.
        test_factors: The class labels of the test codes, an array of shape (N', K).
        continuous: Whether to use squared correlations instead of a classifier.
        seed: The seed of the split where there are no test codes, and of the classifier.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import sap
        >>> factors = np.random.default_rng(0).integers([2, 2], size=(600, 2))
        >>> round(sap(factors, factors, continuous=True).score, 2)
        1.0
        >>> sap(factors, factors).predictability.round(1).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    split = split_train_test(codes, factors, test_codes, test_factors, seed)
    predictability = _squared_correlations(split) if continuous else _accuracies(split, seed)
    gaps = largest_gap(predictability)
    return SAP(
        score=float(gaps.mean()),
        provenance=Provenance(budget, split.sizes, {"continuous": continuous}, seed),
        per_factor=gaps,
        predictability=predictability,
    )


def _squared_correlations(split: TrainTestSplit) -> FloatArray:
    codes = split.codes - split.codes.mean(axis=0, dtype=np.float64)
    values = split.values - split.values.mean(axis=0)
    code_variance, value_variance = (codes**2).mean(axis=0), (values**2).mean(axis=0)
    squared_covariance = (codes.T @ values / len(codes)) ** 2
    constant = code_variance <= SMALLEST_VARIANCE
    product = np.where(constant, 1.0, code_variance)[:, None] * value_variance
    return np.asarray(np.where(constant[:, None], 0.0, squared_covariance / product))


def _accuracies(split: TrainTestSplit, seed: int) -> FloatArray:
    from sklearn.svm import LinearSVC

    accuracies = np.empty((split.codes.shape[1], split.classes.shape[1]))
    for j in range(accuracies.shape[0]):
        train, test = split.codes[:, j : j + 1], split.test_codes[:, j : j + 1]
        for k in range(accuracies.shape[1]):
            classifier = LinearSVC(C=0.01, class_weight="balanced", random_state=seed)
            predictions = fit_quietly(classifier, train, split.classes[:, k]).predict(test)
            accuracies[j, k] = np.mean(predictions == split.test_classes[:, k])
    return accuracies


@register_metric("sap", SAP, costly=True)
def _run_sap(inputs: MetricInputs, budget: str, seed: int) -> SAP:
    return sap(*inputs.train_and_test, seed=seed, budget=budget)


@register_metric("sap_continuous", SAP)
def _run_sap_continuous(inputs: MetricInputs, budget: str, seed: int) -> SAP:
    return sap(*inputs.train_and_test, continuous=True, seed=seed, budget=budget)
