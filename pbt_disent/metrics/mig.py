"""Mutual information gaps: MIG of the factors, nMIG on few labelled points, and MIG-sup of the latents.

MIG asks whether a factor is in one latent, MIG-sup whether a latent holds one factor: a factor copied into two latents
has MIG 0 and MIG-sup 1; two factors in one latent may have a high MIG and have MIG-sup 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import MINIMUM_POINTS, as_codes_and_factors, as_factors
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, register_metric
from pbt_disent.metrics.mutual_information import entropies, mutual_information_matrix
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["MIG", "MIGSup", "largest_gap", "mig", "mig_sup", "nmig"]


@dataclass(frozen=True, eq=False, kw_only=True)
class MIG(MetricResult):
    """The mutual information gap.

    Args:
        score: The mean of `per_factor`.
        per_factor: The gap of each factor as a share of its entropy, of shape (K,).
        latent_of_factor: The number of the latent that knows most about each factor, of shape (K,).
        mutual_information: The mutual information in nats, of shape (Z, K).
        factor_entropy: The entropy of each factor in nats, of shape (K,).
    """

    per_factor: FloatArray
    latent_of_factor: IntArray
    mutual_information: FloatArray
    factor_entropy: FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class MIGSup(MetricResult):
    """The mutual information gap of the latents.

    Args:
        score: The mean of `per_latent` over the active latents, 0 where none is active.
        per_latent: The gap of each latent, of shape (Z,), 0 for those that are not active.
        factor_of_latent: The number of the factor that each latent knows most about, of shape (Z,).
        active: Which latents vary enough, of shape (Z,).
        mutual_information: The mutual information in nats, of shape (Z, K).
    """

    per_latent: FloatArray
    factor_of_latent: IntArray
    active: np.ndarray[Any, np.dtype[np.bool_]]
    mutual_information: FloatArray


def mig(
    codes: ArrayLike, factors: ArrayLike, *, bins: int = 20, estimator: str = "equal_width", budget: str = "protocol"
) -> MIG:
    """Return the mutual information gap (Chen et al. 2018, arXiv 1802.04942, eq. 6).

    For every factor v: how much more the best latent knows about it than the second best, as a share of its entropy,

        MIG = mean over v of (I(z_1st; v) - I(z_2nd; v)) / H(v).

    Codes are posterior means in 20 equal-width bins, as in disentanglement_lib. With such bins even a perfect code of a
    factor of more than 20 levels stays below 1 (0.85 for 32 levels, 0.81 for 40). A single latent has no second best:
    its gap is its whole share of the entropy.

    Args:
        codes: The codes (posterior means), an array of shape (N, Z).
        factors: The class labels of the factors, an array of shape (N, K).
        bins: The number of bins per latent.
        estimator: The estimator of mutual information: ``equal_width`` (published), ``quantile`` or ``knn``.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad or the estimator is unknown.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import mig
        >>> factors = np.random.default_rng(0).integers([3, 4], size=(600, 2))
        >>> round(mig(factors, factors).score, 2)
        1.0
        >>> round(mig(factors @ [[1, 1], [1, -1]], factors).score, 2)
        0.02
    """
    checked, classes = as_codes_and_factors(codes, factors)
    information = mutual_information_matrix(checked, classes, bins, estimator)
    entropy = entropies(classes)
    gaps = largest_gap(information) / entropy
    return MIG(
        score=float(gaps.mean()),
        provenance=Provenance(budget, {"points": len(checked)}, {"bins": bins, "estimator": estimator}),
        per_factor=gaps,
        latent_of_factor=information.argmax(axis=0),
        mutual_information=information,
        factor_entropy=entropy,
    )


def nmig(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    num_train: int = 50_000,
    bins: int = 20,
    seed: int = 0,
    budget: str = "protocol",
) -> MIG:
    """Return MIG on some labelled points, drawn without replacement; on all points where there are no more.

    With few points this is the semi-supervised fitness of rPU-VAE (arXiv 2010.13527). Plug-in information is biased
    upwards then: independent uniform variables in 20 x 20 bins share about 0.6 of their entropy at 50 points, and 0.3
    at 200.

    Args:
        codes: The codes, an array of shape (N, Z).
        factors: The class labels of the labelled points, an array of shape (N, K).
        num_train: The number of points that may be used.
        bins: The number of equal-width bins per latent.
        seed: The seed of the draw; the same seed draws the same points for every model.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad, or fewer points are asked for than `MINIMUM_POINTS`.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import nmig
        >>> factors = np.random.default_rng(0).integers([3, 4], size=(600, 2))
        >>> result = nmig(factors, factors, num_train=100)
        >>> round(result.score, 2), result.provenance.samples
        (0.97, {'points': 100})
    """
    if num_train < MINIMUM_POINTS:
        raise UserError(f"num_train={num_train}", f"must be at least {MINIMUM_POINTS}", "label more points")
    checked, classes = as_codes_and_factors(codes, factors)
    if len(checked) > num_train:
        rows = Streams(seed).generator("metrics", "nmig").choice(len(checked), num_train, replace=False)
        checked, classes = checked[rows], as_factors(classes[rows])
    result = mig(checked, classes, bins=bins, budget=budget)
    parameters = {**result.provenance.parameters, "num_train": num_train}
    return replace(result, provenance=replace(result.provenance, parameters=parameters, seed=seed))


def mig_sup(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    bins: int = 20,
    estimator: str = "equal_width",
    minimum_variance: float = 1e-2,
    budget: str = "protocol",
) -> MIGSup:
    """Return MIG-sup (Li et al. 2020, arXiv 2002.10549), the mutual information gap of every latent over the factors.

    For every latent z: how much more it knows about its best factor than about its second best,

        MIG-sup = mean over active z of (I(z; v_1st) / H(v_1st) - I(z; v_2nd) / H(v_2nd)).

    As in the paper, information is divided by the entropy of the factor (not of the latent), and only active latents
    count. The paper's own estimator draws samples; this one bins the means, as MIG's does.

    Args:
        codes: The codes (posterior means), an array of shape (N, Z), in the units of the prior.
        factors: The class labels of the factors, an array of shape (N, K).
        bins: The number of bins per latent.
        estimator: The estimator of mutual information: ``equal_width``, ``quantile`` or ``knn``.
        minimum_variance: The variance that the codes of an active latent exceed, in units of the prior's.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad or the estimator is unknown.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import mig, mig_sup
        >>> factors = np.random.default_rng(0).integers([3, 4], size=(600, 2))
        >>> copied = factors[:, [0, 0, 1]]
        >>> round(mig(copied, factors).score, 2), round(mig_sup(copied, factors).score, 2)
        (0.5, 1.0)
    """
    checked, classes = as_codes_and_factors(codes, factors)
    information = mutual_information_matrix(checked, classes, bins, estimator)
    active = checked.var(axis=0, dtype=np.float64) > minimum_variance
    shares = information / entropies(classes)
    gaps = np.where(active, largest_gap(shares.T), 0.0)
    return MIGSup(
        score=float(gaps[active].mean()) if active.any() else 0.0,
        provenance=Provenance(
            budget,
            {"points": len(checked)},
            {"bins": bins, "estimator": estimator, "minimum_variance": minimum_variance},
        ),
        per_latent=gaps,
        factor_of_latent=shares.argmax(axis=1),
        active=active,
        mutual_information=information,
    )


def largest_gap(values: FloatArray) -> FloatArray:
    """Return for every column the largest value minus the second largest (minus 0 where there is one row only)."""
    ordered = np.sort(values, axis=0)[::-1]
    return np.asarray(ordered[0] - (ordered[1] if len(ordered) > 1 else 0.0))


@register_metric("mig", MIG)
def _run_mig(inputs: MetricInputs, budget: str, seed: int) -> MIG:
    return mig(inputs.codes, inputs.require("factors"), budget=budget)


@register_metric("nmig", MIG)
def _run_nmig(inputs: MetricInputs, budget: str, seed: int) -> MIG:
    return nmig(inputs.codes, inputs.require("factors"), seed=seed, budget=budget)


@register_metric("mig_sup", MIGSup)
def _run_mig_sup(inputs: MetricInputs, budget: str, seed: int) -> MIGSup:
    return mig_sup(inputs.codes, inputs.require("factors"), budget=budget)
