"""Disentanglement, completeness and informativeness (Eastwood and Williams 2018, ICLR) from boosted trees.

For every factor a classifier is fitted on all latents; R (Z, K) holds the importances of latents for factors. Then

    disentanglement of latent j  = 1 - H_K(R_j. / sum),   weighted by the latent's share of all importance,
    completeness of factor k     = 1 - H_Z(R_.k / sum),   weighted by the factor's share,
    informativeness              = test accuracy, mean over the factors,

with entropies to base K and Z. disentanglement_lib (arXiv 1811.12359) uses the same classifier and weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._boosted_trees import fit_trees
from pbt_disent.metrics._supervised import TrainTestSplit, split_train_test
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, check_metric_budget, register_metric
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray

__all__ = ["DCI", "dci", "importance_scores"]

SMALLEST_SHARE = 1e-11
FAST_POINTS = (2_000, 1_000)
"""The most training and test points of the fast budget."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DCI(MetricResult):
    """Disentanglement, completeness and informativeness.

    Args:
        score: The disentanglement.
        disentanglement: Does every latent matter for one factor only?
        completeness: Does every factor depend on one latent only?
        informativeness: The test accuracy, averaged over the factors.
        train_informativeness: The training accuracy, averaged over the factors.
        importance: The importances, of shape (Z, K). A column sums to 1, or is 0 where no split helped.
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
    """Return DCI (Eastwood and Williams 2018), fitted on training and measured on test points.

    Args:
        codes: The training codes, an array of shape (N, Z).
        factors: The class labels of the factors, an array of shape (N, K).
        test_codes: The test codes, an array of shape (N', Z). Without them a third of the points is held out.
        test_factors: The class labels of the test codes, an array of shape (N', K).
        seed: The seed of the split and of the trees.
        budget: The budget: ``protocol`` uses all points and scikit-learn's trees (minutes at 10,000 points with many
            classes), and ``fast`` draws at most 2,000 training and 1,000 test points and fits trees from histograms.

    Raises:
        UserError: The input is bad.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import dci
        >>> factors = np.random.default_rng(0).integers([2, 2], size=(300, 2))
        >>> result = dci(factors[:, [0, 0, 1]], factors, budget="fast")
        >>> round(result.disentanglement, 2), round(result.completeness, 1), round(result.informativeness, 2)
        (1.0, 0.7, 1.0)
    """
    check_metric_budget(budget)
    split = split_train_test(codes, factors, test_codes, test_factors, seed)
    if budget == "fast":
        split = _subsample(split, *FAST_POINTS, seed)
    fitted = fit_trees(split.codes, split.classes, split.test_codes, budget=budget, seed=seed)
    importance = np.stack([trees.importance for trees in fitted], axis=1)
    disentanglement, completeness = importance_scores(importance)
    train_predictions = np.stack([trees.train_predictions for trees in fitted], axis=1)
    test_predictions = np.stack([trees.test_predictions for trees in fitted], axis=1)
    return DCI(
        score=disentanglement,
        provenance=Provenance(budget, split.sizes, {"trees": "exact" if budget == "protocol" else "histogram"}, seed),
        disentanglement=disentanglement,
        completeness=completeness,
        informativeness=float((test_predictions == split.test_classes).mean(axis=0).mean()),
        train_informativeness=float((train_predictions == split.classes).mean(axis=0).mean()),
        importance=importance,
    )


def importance_scores(importance: FloatArray) -> tuple[float, float]:
    """Return disentanglement and completeness of an importance matrix (Z, K); both are 0 if nothing matters.

    With one factor every latent that matters is disentangled, with one latent every factor is complete.
    """
    if importance.sum() == 0:
        return 0.0, 0.0
    return _concentration(importance.T), _concentration(importance)


def _concentration(importance: FloatArray) -> float:
    """Return 1 - entropy of every column, to the base of its length, averaged with the columns' sums as weights."""
    shares = importance + SMALLEST_SHARE
    shares = shares / shares.sum(axis=0)
    entropy = -(shares * np.log(shares)).sum(axis=0) / np.log(max(len(importance), 2))
    return float(((1.0 - entropy) * importance.sum(axis=0) / importance.sum()).sum())


def _subsample(split: TrainTestSplit, num_train: int, num_test: int, seed: int) -> TrainTestSplit:
    """Return at most the given numbers of training and test points, drawn by the seed."""
    rng = Streams(seed).generator("metrics", "dci")
    train, test = (
        np.arange(size) if size <= limit else np.sort(rng.choice(size, limit, replace=False))
        for size, limit in ((len(split.codes), num_train), (len(split.test_codes), num_test))
    )
    return TrainTestSplit(
        split.codes[train], split.classes[train], split.values[train], split.test_codes[test], split.test_classes[test]
    )


@register_metric("dci", DCI, parts=("disentanglement", "completeness", "informativeness"), costly=True)
def _run_dci(inputs: MetricInputs, budget: str, seed: int) -> DCI:
    return dci(*inputs.train_and_test, seed=seed, budget=budget)
