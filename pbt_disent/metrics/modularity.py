"""Modularity (Ridgeway and Mozer 2018, arXiv 1802.05312, eq. 2): does every latent know about one factor only?

As disentanglement_lib computes it: mutual information of 20 equal-width bins, and a latent that knows nothing counts 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._arrays import as_pair
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics.mutual_information import mutual_information_matrix
from pbt_disent.types import FloatArray

__all__ = ["Modularity", "modularity"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Modularity(Result):
    """Modularity.

    Args:
        score: mean of `per_latent`.
        per_latent: (Z,) 1 minus the share of squared information that is not about the latent's own factor.
        mutual_information: (Z, K) in nats.
    """

    per_latent: FloatArray
    mutual_information: FloatArray


def modularity(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    bins: int = 20,
    estimator: str = "equal_width",
    budget: str = "protocol",
) -> Modularity:
    """Return the modularity of codes (N, Z) over factors (N, K).

    With one factor only, every latent that knows anything is modular.

    Args:
        codes: (N, Z).
        factors: (N, K) class labels.
        bins: per latent.
        estimator: ``equal_width`` (published), ``quantile`` or ``knn``.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input.
    """
    checked, classes = as_pair(codes, factors)
    information = mutual_information_matrix(checked, classes, bins, estimator)
    squared = information**2
    largest = squared.max(axis=1)
    rest = squared.sum(axis=1) - largest
    whole = np.where(largest > 0, largest, 1.0) * max(information.shape[1] - 1, 1)
    per_latent = np.where(largest > 0, 1.0 - rest / whole, 0.0)
    return Modularity(
        score=float(per_latent.mean()),
        record=Record(budget, {"points": len(checked)}, {"bins": bins, "estimator": estimator}),
        per_latent=per_latent,
        mutual_information=information,
    )


def _run(data: Inputs, budget: str, seed: int) -> Modularity:
    return modularity(data.codes, data.labels, budget=budget)


METRICS.register("modularity")(Metric(Modularity, _run))
