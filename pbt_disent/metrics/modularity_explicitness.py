"""Modularity and explicitness (Ridgeway and Mozer 2018, arXiv 1802.05312, section 3).

Modularity asks whether every latent knows about one factor only, and explicitness whether a linear classifier on all
latents can read every factor. Both are as in disentanglement_lib.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._arrays import as_codes_and_factors
from pbt_disent.metrics._supervised import fit_quietly, split_train_test, standardise
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, register_metric
from pbt_disent.metrics.mutual_information import mutual_information_matrix
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Explicitness", "Modularity", "explicitness", "modularity"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Modularity(MetricResult):
    """Modularity.

    Args:
        score: The mean of `per_latent`.
        per_latent: One minus the share of each latent's squared information that is not about its own factor, of shape
            (Z,). A latent that knows nothing counts 0.
        mutual_information: The mutual information in nats, of shape (Z, K).
    """

    per_latent: FloatArray
    mutual_information: FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Explicitness(MetricResult):
    """Explicitness.

    Args:
        score: The mean of `per_factor`, measured on the test points.
        train_score: The same measured on the training points.
        per_factor: The mean area under the ROC curve over the classes of each factor, of shape (K,).
    """

    train_score: float
    per_factor: FloatArray


def modularity(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    bins: int = 20,
    estimator: str = "equal_width",
    budget: str = "protocol",
) -> Modularity:
    """Return the modularity (arXiv 1802.05312, eq. 2).

    With I the mutual information of latent z and factor v, and v* the factor that z knows most about,

        modularity = mean over z of 1 - sum over v != v* of I(z; v)^2 / ((K - 1) I(z; v*)^2).

    With one factor, every latent that knows anything is modular.

    Args:
        codes: The codes, an array of shape (N, Z).
        factors: The class labels of the factors, an array of shape (N, K).
        bins: The number of bins per latent.
        estimator: The estimator of mutual information: ``equal_width`` (published), ``quantile`` or ``knn``.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad or the estimator is unknown.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import modularity
        >>> factors = np.random.default_rng(0).integers([3, 4], size=(600, 2))
        >>> modularity(factors @ [[1, 1], [0, 1]], factors).per_latent.round(2).tolist()
        [1.0, 0.73]
    """
    checked, classes = as_codes_and_factors(codes, factors)
    information = mutual_information_matrix(checked, classes, bins, estimator)
    squared = information**2
    largest = squared.max(axis=1)
    remainder = squared.sum(axis=1) - largest
    reference = np.where(largest > 0, largest, 1.0) * max(information.shape[1] - 1, 1)
    per_latent = np.where(largest > 0, 1.0 - remainder / reference, 0.0)
    return Modularity(
        score=float(per_latent.mean()),
        provenance=Provenance(budget, {"points": len(checked)}, {"bins": bins, "estimator": estimator}),
        per_latent=per_latent,
        mutual_information=information,
    )


def explicitness(
    codes: ArrayLike,
    factors: ArrayLike,
    test_codes: ArrayLike | None = None,
    test_factors: ArrayLike | None = None,
    *,
    seed: int = 0,
    budget: str = "protocol",
) -> Explicitness:
    """Return the explicitness (arXiv 1802.05312, section 3), fitted on training and measured on test points.

    For every factor a logistic regression on all latents, standardised by the training points, and the area under the
    ROC curve of each of its classes against the rest, averaged over classes and factors. Guessing has 0.5.

    Args:
        codes: The training codes, an array of shape (N, Z).
        factors: The class labels of the factors, an array of shape (N, K).
        test_codes: The test codes, an array of shape (N', Z). Without them a third of the points is held out.
        test_factors: The class labels of the test codes, an array of shape (N', K).
        seed: The seed of the split where there are no test codes.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import explicitness
        >>> rng = np.random.default_rng(0)
        >>> factors = rng.integers([2, 2], size=(600, 2))
        >>> round(explicitness(factors @ [[1, 1], [1, -1]], factors).score, 2)
        1.0
        >>> round(explicitness(rng.normal(size=(600, 2)), factors).score, 1)
        0.5
    """
    from sklearn.linear_model import LogisticRegression

    split = split_train_test(codes, factors, test_codes, test_factors, seed)
    train, test = standardise(split.codes, split.codes), standardise(split.codes, split.test_codes)
    train_areas, test_areas = [], []
    for labels, test_labels in zip(split.classes.T, split.test_classes.T, strict=True):
        model = fit_quietly(LogisticRegression(), train, labels)
        train_areas.append(_mean_area(labels, model.classes_, model.predict_proba(train)))
        test_areas.append(_mean_area(test_labels, model.classes_, model.predict_proba(test)))
    return Explicitness(
        score=float(np.mean(test_areas)),
        provenance=Provenance(budget, split.sizes, seed=seed),
        train_score=float(np.mean(train_areas)),
        per_factor=np.array(test_areas),
    )


def _mean_area(labels: IntArray, classes: IntArray, probabilities: FloatArray) -> float:
    """Return the mean area under the ROC curve of the classes that some labels are and some are not, 0.5 if none is.

    The area is the share of pairs (inside, outside) that are ranked correctly, from the ranks of all classes at once.
    """
    # scikit-learn's roc_auc_score ranks one class per call: with it, explicitness on 15,000 points and the 113 classes
    # of dSprites takes three times as long (45 s and more instead of 15 s).
    from scipy.stats import rankdata

    inside = labels[:, None] == classes
    num_inside = inside.sum(axis=0)
    num_pairs = num_inside * (len(labels) - num_inside)
    correct_pairs = (rankdata(probabilities, axis=0) * inside).sum(axis=0) - num_inside * (num_inside + 1) / 2
    defined = num_pairs > 0
    return float(np.mean(correct_pairs[defined] / num_pairs[defined])) if defined.any() else 0.5


@register_metric("modularity", Modularity)
def _run_modularity(inputs: MetricInputs, budget: str, seed: int) -> Modularity:
    return modularity(inputs.codes, inputs.require("factors"), budget=budget)


@register_metric("explicitness", Explicitness, costly=True)
def _run_explicitness(inputs: MetricInputs, budget: str, seed: int) -> Explicitness:
    return explicitness(*inputs.train_and_test, seed=seed, budget=budget)
