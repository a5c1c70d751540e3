"""Interventional robustness score (Suter et al. 2019, arXiv 1811.00007), as disentanglement_lib computes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import as_array, as_codes_and_factors, as_factors
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, register_metric
from pbt_disent.metrics.mutual_information import discretise
from pbt_disent.types import FloatArray, IntArray

__all__ = ["IRS", "irs"]


@dataclass(frozen=True, eq=False, kw_only=True)
class IRS(MetricResult):
    """The interventional robustness score.

    Args:
        score: The mean of `per_latent`, weighted by the largest deviation of each latent; 0 if all are constant.
        per_latent: The robustness of each latent for its best factor, of shape (Z,), 0 for constant latents.
        factor_of_latent: The number of that factor, of shape (Z,).
        robustness: The robustness of each latent for each factor, of shape (Z, K).
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
    """Return the interventional robustness score (Suter et al. 2019, arXiv 1811.00007).

    A latent is robust for a factor if, with the factor held fixed, changing all others moves the latent little:

        robustness = 1 - mean over values of v of q(|z - mean of z given v|) / max |z - mean of z|,

    with q the 0.99 quantile. As in the reference, constant latents are left out and factors are cut into 20 equal-width
    bins, so that more levels than bins are merged.

    Args:
        codes: The codes, an array of shape (N, Z).
        factors: The values of the factors, an array of shape (N, K). Their order matters, since they are binned.
        quantile: The quantile q of the distances within a group; 1 is the paper's maximum.
        factor_bins: The number of equal-width bins per factor.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad or the quantile is outside (0, 1].

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import irs
        >>> factors = np.random.default_rng(0).integers([4, 5], size=(600, 2))
        >>> irs(factors @ [[1, 1], [0, 1]], factors).per_latent.round(2).tolist()
        [1.0, 0.57]
    """
    if not 0.0 < quantile <= 1.0:
        raise UserError(f"quantile={quantile}", "must be above 0 and at most 1", "use 0.99, the published value")
    checked, _ = as_codes_and_factors(codes, factors)
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
        provenance=Provenance(budget, {"points": len(checked)}, {"quantile": quantile, "factor_bins": factor_bins}),
        per_latent=per_latent,
        factor_of_latent=robustness.argmax(axis=1),
        robustness=robustness,
    )


def _mean_spread(codes: FloatArray, groups: IntArray, quantile: float) -> FloatArray:
    spreads = []
    for group in np.unique(groups):
        members = codes[groups == group]
        spreads.append(np.quantile(np.abs(members - members.mean(axis=0)), quantile, axis=0))
    return np.asarray(np.mean(spreads, axis=0))


@register_metric("irs", IRS)
def _run_irs(inputs: MetricInputs, budget: str, seed: int) -> IRS:
    return irs(inputs.codes, inputs.require("factors"), budget=budget)
