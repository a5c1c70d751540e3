"""InfoM, InfoE and InfoC (Hsu et al. 2023, arXiv 2305.18378, section 4): modularity, explicitness, compactness.

All three are measured in information. With NMI (Z, K), the mutual information of latent and factor over the entropy of
the factor, for active latents only,

    InfoM = (mean_j max_k NMI / sum_k NMI - 1 / K) / (1 - 1 / K),
    InfoC = (mean_k max_j NMI / sum_j NMI - 1 / Z) / (1 - 1 / Z),
    InfoE = mean_k (1 - H(factor | all latents) / H(factor)),

where both entropies of InfoE are the cross-entropy of a logistic regression without penalty, with balanced classes, on
the points that it was fitted on: on few points InfoE flatters. Information is estimated from 10 nearest neighbours,
since codes are continuous, and a latent is active if its range exceeds a twentieth of the largest range. All this is as
in the authors' code. Where that divides by zero, a latent that knows nothing counts 0, and so does InfoM or InfoC
without active latents, while InfoM of one factor and InfoC of one latent are 1. InfoE is cut off at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._arrays import as_codes_and_factors
from pbt_disent.metrics._supervised import fit_quietly, standardise
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, register_metric
from pbt_disent.metrics.mutual_information import entropies, mutual_information_matrix
from pbt_disent.types import FloatArray, IntArray

__all__ = ["InfoMEC", "infomec"]

NEIGHBOURS = 10
ACTIVE_RANGE = 1 / 20
"""The share of the largest range that the range of an active latent exceeds."""


@dataclass(frozen=True, eq=False, kw_only=True)
class InfoMEC(MetricResult):
    """InfoM, InfoE and InfoC.

    Args:
        score: InfoM.
        infom: The modularity: does every active latent know about one factor only?
        infoe: The explicitness: the share of the factors' entropy that a linear classifier explains.
        infoc: The compactness: is every factor known by one active latent only?
        normalised_information: The mutual information as a share of the factor's entropy, of shape (Z, K).
        active: Which latents take part in InfoM and InfoC, of shape (Z,).
    """

    infom: float
    infoe: float
    infoc: float
    normalised_information: FloatArray
    active: np.ndarray[Any, np.dtype[np.bool_]]


def infomec(codes: ArrayLike, factors: ArrayLike, *, estimator: str = "knn", budget: str = "protocol") -> InfoMEC:
    """Return InfoM, InfoE and InfoC (arXiv 2305.18378, section 4); the formulas are at the top of this module.

    Args:
        codes: The codes, an array of shape (N, Z).
        factors: The class labels of the factors, an array of shape (N, K).
        estimator: The estimator of mutual information: ``knn`` (published), ``equal_width`` or ``quantile``.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad or the estimator is unknown.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import infomec
        >>> factors = np.random.default_rng(0).integers([2, 2], size=(600, 2))
        >>> result = infomec(factors[:, [0, 0, 1]], factors, estimator="equal_width")
        >>> round(result.infom, 2), round(result.infoe, 2), round(result.infoc, 2)
        (1.0, 1.0, 0.62)
    """
    checked, classes = as_codes_and_factors(codes, factors)
    scaled = standardise(checked, checked)
    information = mutual_information_matrix(scaled, classes, estimator=estimator, neighbours=NEIGHBOURS)
    shares = information / entropies(classes)
    ranges = np.ptp(checked, axis=0)
    active = ranges > ACTIVE_RANGE * ranges.max()
    infom = _mean_concentration(shares[active].T)
    return InfoMEC(
        score=infom,
        provenance=Provenance(budget, {"points": len(checked)}, {"estimator": estimator}),
        infom=infom,
        infoe=_explained_entropy(scaled, classes),
        infoc=_mean_concentration(shares[active]),
        normalised_information=shares,
        active=active,
    )


def _mean_concentration(shares: FloatArray) -> float:
    """Return how far the largest entry of each column stands out, 0 for even columns and 1 for a single entry."""
    if shares.size == 0:
        return 0.0
    rows = len(shares)
    if rows == 1:
        return 1.0
    total = shares.sum(axis=0)
    largest = np.where(total > 0, shares.max(axis=0) / np.where(total > 0, total, 1.0), 1.0 / rows)
    return float((largest.mean() - 1.0 / rows) / (1.0 - 1.0 / rows))


def _explained_entropy(codes: FloatArray, classes: IntArray) -> float:
    """Return InfoE. With balanced classes the entropy of a factor is the logarithm of its number of levels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    explained = []
    for labels in classes.T:
        model = fit_quietly(LogisticRegression(C=np.inf, class_weight="balanced"), codes, labels)
        explained.append(1.0 - log_loss(labels, model.predict_proba(codes)) / np.log(len(model.classes_)))
    return float(max(np.mean(explained), 0.0))


@register_metric("infomec", InfoMEC, parts=("infom", "infoe", "infoc"), costly=True)
def _run_infomec(inputs: MetricInputs, budget: str, seed: int) -> InfoMEC:
    return infomec(inputs.codes, inputs.require("factors"), budget=budget)
