"""InfoM, InfoE and InfoC (Hsu et al. 2023, arXiv 2305.18378, section 4): modularity, explicitness, compactness.

All three are measured in information. With NMI (Z, K), the mutual information of latent and factor over the entropy
of the factor, for active latents only,

    InfoM = (mean_j max_k NMI / sum_k NMI - 1 / K) / (1 - 1 / K),
    InfoC = (mean_k max_j NMI / sum_j NMI - 1 / Z) / (1 - 1 / Z),
    InfoE = mean_k (1 - H(factor | all latents) / H(factor)),

where both entropies of InfoE are the cross-entropy of a logistic regression without penalty, with balanced classes,
on the points that it was fitted on: on few points InfoE flatters. Information is estimated from 10 nearest neighbours,
since codes are continuous, and a latent is active if its range exceeds a twentieth of the largest range. All this is
as in the authors' code; where that divides by zero, a latent that knows nothing counts 0, and so does InfoM or InfoC
of no active latent, while InfoM of one factor and InfoC of one latent are 1. InfoE is cut off at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._arrays import as_pair
from pbt_disent.metrics._fit import quiet_fit
from pbt_disent.metrics._halves import standardised
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics.mutual_information import entropies, mutual_information_matrix
from pbt_disent.types import FloatArray, IntArray

__all__ = ["InfoMEC", "infomec"]

NEIGHBOURS = 10
SMALLEST_RANGE = 1 / 20


@dataclass(frozen=True, eq=False, kw_only=True)
class InfoMEC(Result):
    """InfoM, InfoE and InfoC.

    Args:
        score: InfoM.
        infom: modularity: does every active latent know about one factor only?
        infoe: explicitness: share of the factors' entropy that a linear classifier explains.
        infoc: compactness: is every factor known by one active latent only?
        normalised_information: (Z, K), in units of the factor's entropy.
        active: (Z,) which latents take part in InfoM and InfoC.
    """

    infom: float
    infoe: float
    infoc: float
    normalised_information: FloatArray
    active: np.ndarray[Any, np.dtype[np.bool_]]


def infomec(codes: ArrayLike, factors: ArrayLike, *, estimator: str = "knn", budget: str = "protocol") -> InfoMEC:
    """Return InfoM, InfoE and InfoC of codes (N, Z) over factors (N, K).

    Args:
        codes: (N, Z).
        factors: (N, K) class labels.
        estimator: of the information: ``knn`` (published), ``equal_width`` or ``quantile``.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input.
    """
    checked, classes = as_pair(codes, factors)
    scaled = standardised(checked, checked)
    shares = mutual_information_matrix(scaled, classes, estimator=estimator, neighbours=NEIGHBOURS) / entropies(classes)
    ranges = np.ptp(checked, axis=0)
    active = ranges > SMALLEST_RANGE * ranges.max()
    modularity = _concentration(shares[active].T)
    return InfoMEC(
        score=modularity,
        record=Record(budget, {"points": len(checked)}, {"estimator": estimator}),
        infom=modularity,
        infoe=_explained(scaled, classes),
        infoc=_concentration(shares[active]),
        normalised_information=shares,
        active=active,
    )


def _concentration(table: FloatArray) -> float:
    """Return how far each column's largest entry stands out, 0 for even columns and 1 for a single entry."""
    if table.size == 0:
        return 0.0
    if len(table) == 1:
        return 1.0
    total = table.sum(axis=0)
    share = np.where(total > 0, table.max(axis=0) / np.where(total > 0, total, 1.0), 1.0 / len(table))
    return float((share.mean() - 1.0 / len(table)) / (1.0 - 1.0 / len(table)))


def _explained(codes: FloatArray, classes: IntArray) -> float:
    """Return InfoE; with balanced classes the entropy of a factor is the logarithm of its number of levels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    explained = []
    for labels in classes.T:
        model = quiet_fit(LogisticRegression(C=np.inf, class_weight="balanced"), codes, labels)
        explained.append(1.0 - log_loss(labels, model.predict_proba(codes)) / np.log(len(model.classes_)))
    return float(max(np.mean(explained), 0.0))


def _run(data: Inputs, budget: str, seed: int) -> InfoMEC:
    return infomec(data.codes, data.labels, budget=budget)


METRICS.register("infomec")(Metric(InfoMEC, _run, parts=("infom", "infoe", "infoc"), costly=True))
