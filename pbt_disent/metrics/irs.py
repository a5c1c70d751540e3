"""Interventional robustness score (Suter et al. 2019, arXiv 1811.00007), as disentanglement_lib computes it.

A latent is robust for a factor if, with the factor held fixed, changing all others moves the latent little: the
0.99 quantile of its distance from the mean of the group, averaged over the factor's values, relative to the
largest distance overall. Factors are cut in 20 equal-width bins and constant latents dropped, as in the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import as_array, as_factors, as_pair
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics.mutual_information import discretise
from pbt_disent.types import FloatArray, IntArray

__all__ = ["IRS", "irs"]


@dataclass(frozen=True, eq=False, kw_only=True)
class IRS(Result):
    """Interventional robustness.

    Args:
        score: mean of `per_latent`, weighted by the largest deviation of each latent; 0 if all are constant.
        per_latent: (Z,) robustness for the latent's best factor; 0 for constant latents.
        factor_of_latent: (Z,) number of that factor.
        robustness: (Z, K); rows of constant latents are 0.
    """

    per_latent: FloatArray
    factor_of_latent: IntArray
    robustness: FloatArray


def irs(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    quantile: float = 0.99,
    factor_bins: int = 20,
    budget: str = "protocol",
) -> IRS:
    """Return the interventional robustness score of codes (N, Z) over factors (N, K).

    Args:
        codes: (N, Z).
        factors: (N, K); their order matters, since they are cut in equal-width bins.
        quantile: of the distances within a group; 1 is the paper's maximum.
        factor_bins: equal-width bins per factor, so that more levels than bins are merged (published).
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input or a quantile outside (0, 1].
    """
    if not 0.0 < quantile <= 1.0:
        raise UserError(f"quantile={quantile}", "must be above 0 and at most 1", "use 0.99, the published value")
    checked, _ = as_pair(codes, factors)
    groups = as_factors(discretise(as_array(factors, "factors"), factor_bins))
    values = checked.astype(np.float64)
    largest = np.abs(values - values.mean(axis=0)).max(axis=0)
    varies = np.ptp(checked, axis=0) > 0
    spread = np.stack([_mean_spread(values, column, quantile) for column in groups.T], axis=1)
    robustness = np.where(varies[:, None], 1.0 - spread / np.where(varies, largest, 1.0)[:, None], 0.0)
    per_latent = robustness.max(axis=1)
    weights = np.where(varies, largest, 0.0)
    return IRS(
        score=float(np.average(per_latent, weights=weights)) if varies.any() else 0.0,
        record=Record(budget, {"points": len(checked)}, {"quantile": quantile, "factor_bins": factor_bins}),
        per_latent=per_latent,
        factor_of_latent=robustness.argmax(axis=1),
        robustness=robustness,
    )


def _mean_spread(codes: FloatArray, groups: IntArray, quantile: float) -> FloatArray:
    spreads = []
    for group in np.unique(groups):
        inside = codes[groups == group]
        spreads.append(np.quantile(np.abs(inside - inside.mean(axis=0)), quantile, axis=0))
    return np.asarray(np.mean(spreads, axis=0))


def _run(data: Inputs, budget: str, seed: int) -> IRS:
    return irs(data.codes, data.labels, budget=budget)


METRICS.register("irs")(Metric(IRS, _run))
