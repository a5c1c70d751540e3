"""MIG-sup (Li et al. 2020, arXiv 2002.10549): the mutual information gap of every latent over the factors.

MIG asks whether a factor sits in one latent, MIG-sup whether a latent holds one factor: a factor copied into two
latents has MIG 0 and MIG-sup 1, two factors in one latent may have a high MIG and have MIG-sup 0. As in the paper,
information is divided by the factor's entropy (not the latent's), and only active latents count, those whose codes
have a variance above 1e-2. The paper's own estimator draws samples; this one bins the means, like MIG's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._arrays import as_pair
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics.mig import top_gap
from pbt_disent.metrics.mutual_information import entropies, mutual_information_matrix
from pbt_disent.types import FloatArray, IntArray

__all__ = ["MIGSup", "mig_sup"]


@dataclass(frozen=True, eq=False, kw_only=True)
class MIGSup(Result):
    """Mutual information gap of the latents.

    Args:
        score: mean of `per_latent` over the active latents; 0 where none is active.
        per_latent: (Z,) gap of each latent, 0 for those that are not active.
        factor_of_latent: (Z,) number of the factor that each latent knows most about.
        active: (Z,) which latents vary enough.
        mutual_information: (Z, K) in nats.
    """

    per_latent: FloatArray
    factor_of_latent: IntArray
    active: np.ndarray[Any, np.dtype[np.bool_]]
    mutual_information: FloatArray


def mig_sup(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    bins: int = 20,
    estimator: str = "equal_width",
    minimum_variance: float = 1e-2,
    budget: str = "protocol",
) -> MIGSup:
    """Return MIG-sup of codes (N, Z) over factors (N, K).

    Args:
        codes: (N, Z) posterior means, in the units of the prior: `minimum_variance` depends on them.
        factors: (N, K) class labels.
        bins: equal-width or quantile bins per latent.
        estimator: ``equal_width``, ``quantile`` or ``knn``.
        minimum_variance: a latent is active if its codes vary more than this.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input.
    """
    checked, classes = as_pair(codes, factors)
    information = mutual_information_matrix(checked, classes, bins, estimator)
    active = checked.var(axis=0, dtype=np.float64) > minimum_variance
    shares = information / entropies(classes)
    gaps = np.where(active, top_gap(shares.T), 0.0)
    return MIGSup(
        score=float(gaps[active].mean()) if active.any() else 0.0,
        record=Record(
            budget,
            {"points": len(checked)},
            {"bins": bins, "estimator": estimator, "minimum_variance": minimum_variance},
        ),
        per_latent=gaps,
        factor_of_latent=shares.argmax(axis=1),
        active=active,
        mutual_information=information,
    )


def _run(data: Inputs, budget: str, seed: int) -> MIGSup:
    return mig_sup(data.codes, data.labels, budget=budget)


METRICS.register("mig_sup")(Metric(MIGSup, _run))
