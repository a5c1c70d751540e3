"""InfoM, InfoC and InfoE (Hsu et al. 2023, arXiv 2305.18378, section 4): modularity, compactness, explicitness.

All three are measured in information. With NMI (Z, K), the mutual information of latent and factor over the entropy
of the factor, for active latents only,

    InfoM = (mean_j max_k NMI / sum_k NMI - 1 / K) / (1 - 1 / K),
    InfoC = (mean_k max_j NMI / sum_j NMI - 1 / Z) / (1 - 1 / Z),
    InfoE = mean_k (1 - cross-entropy of a linear classifier / entropy of the factor).

Information is estimated by nearest neighbours, since codes are continuous; the bins of MIG can be chosen instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._fit import quiet_fit
from pbt_disent.metrics._halves import Halves, halves, standardised
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics.mutual_information import entropies, mutual_information_matrix
from pbt_disent.types import FloatArray

__all__ = ["InfoMEC", "infomec"]

WEAKEST_PENALTY = 1e4


@dataclass(frozen=True, eq=False, kw_only=True)
class InfoMEC(Result):
    """InfoM, InfoE and InfoC.

    Args:
        score: InfoM.
        infom: modularity: does every active latent know about one factor only?
        infoe: explicitness: share of the factors' entropy that a linear classifier explains, test half.
        infoc: compactness: is every factor known by one active latent only?
        normalised_information: (Z, K), in units of the factor's entropy.
        active: (Z,) which latents take part.
    """

    infom: float
    infoe: float
    infoc: float
    normalised_information: FloatArray
    active: np.ndarray[Any, np.dtype[np.bool_]]


def infomec(
    codes: ArrayLike,
    factors: ArrayLike,
    test_codes: ArrayLike | None = None,
    test_factors: ArrayLike | None = None,
    *,
    estimator: str = "knn",
    minimum_variance: float = 1e-2,
    seed: int = 0,
    budget: str = "protocol",
) -> InfoMEC:
    """Return InfoM, InfoE and InfoC of codes (N, Z) over factors (N, K); all are 0 if no latent is active.

    Args:
        codes: (N, Z), in the units of the prior: `minimum_variance` depends on them.
        factors: (N, K) class labels.
        test_codes: (N', Z), for InfoE; without a test half a third of the points is held out.
        test_factors: (N', K).
        estimator: of the information: ``knn``, ``equal_width`` or ``quantile``.
        minimum_variance: a latent is active if its codes vary more than this.
        seed: of the split where there is no test half.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input.
    """
    data = halves(codes, factors, test_codes, test_factors, seed)
    entropy = entropies(data.classes)
    shares = mutual_information_matrix(data.codes, data.classes, estimator=estimator) / entropy
    active = data.codes.var(axis=0, dtype=np.float64) > minimum_variance
    modularity = _concentration(shares[active].T)
    return InfoMEC(
        score=modularity,
        record=Record(budget, data.sizes, {"estimator": estimator, "minimum_variance": minimum_variance}, seed),
        infom=modularity,
        infoe=_explained(data, entropy) if active.any() else 0.0,
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


def _explained(data: Halves, entropy: FloatArray) -> float:
    """Return the mean over the factors of 1 - cross-entropy / entropy on the test half, never below 0."""
    from sklearn.linear_model import LogisticRegression

    train, test = standardised(data)
    explained = []
    for k, whole in enumerate(entropy):
        model = quiet_fit(LogisticRegression(C=WEAKEST_PENALTY), train, data.classes[:, k])
        column = np.searchsorted(model.classes_, data.test_classes[:, k]).clip(max=len(model.classes_) - 1)
        known = model.classes_[column] == data.test_classes[:, k]
        chance = model.predict_proba(test)[np.arange(len(test)), column]
        surprise = -np.log(np.maximum(np.where(known, chance, 0.0), np.finfo(np.float64).tiny))
        explained.append(max(1.0 - float(surprise.mean()) / float(whole), 0.0))
    return float(np.mean(explained))


def _run(data: Inputs, budget: str, seed: int) -> InfoMEC:
    return infomec(data.codes, data.labels, data.test_codes, data.test_factors, seed=seed, budget=budget)


METRICS.register("infomec")(Metric(InfoMEC, _run, parts=("infom", "infoe", "infoc"), costly=True))
