"""Total correlation and Wasserstein correlation of a representation, taken for Gaussian: 0 if it is uncorrelated.

With covariance C of the codes, D its diagonal part,

    total correlation        TC = -1/2 ln det corr(C)                       (infinite if C is singular)
    Wasserstein correlation  W  = 2 tr C - 2 tr (C D)^(1/2)

Codes are means. Paper 5 (RTC-VAE, arXiv 2009.05739) compares them with samples: by the law of total covariance
samples have covariance C + E diag sigma^2, so that give `sigma` and both are returned. The TC of samples is bounded,
whatever the means do, by 1/2 sum ln(1 + C_jj / E sigma_j^2). Both are checks of second order: z2 = z1^2 passes.
Constant latents are left out, where disentanglement_lib returns NaN; passive latents can be left out by variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import as_array, as_codes
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.types import FloatArray

__all__ = [
    "GaussianTotalCorrelation",
    "GaussianWassersteinCorrelation",
    "gaussian_total_correlation",
    "gaussian_wasserstein_correlation",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class GaussianTotalCorrelation(Result):
    """Total correlation in nats.

    Args:
        score: of the means; infinite if one latent is a linear function of others.
        sampled: of samples, None without `sigma`.
        sampled_bound: the largest `sampled` possible with these variances, None without `sigma`.
        covariance: (Z, Z) of the means.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    sampled: float | None
    sampled_bound: float | None
    covariance: FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class GaussianWassersteinCorrelation(Result):
    """Squared Wasserstein distance to the product of the marginals, in squared units of the codes.

    Args:
        score: of the means.
        normalised: `score` divided by the sum of the variances, 0 if there is none.
        sampled: of samples, None without `sigma`.
        covariance: (Z, Z) of the means.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    normalised: float
    sampled: float | None
    covariance: FloatArray


def gaussian_total_correlation(
    codes: ArrayLike, sigma: ArrayLike | None = None, *, minimum_variance: float = 0.0, budget: str = "protocol"
) -> GaussianTotalCorrelation:
    """Return the Gaussian total correlation of codes (N, Z), and of samples where sigma (N, Z) is given.

    Args:
        codes: (N, Z) posterior means.
        sigma: (N, Z) posterior standard deviations.
        minimum_variance: latents whose means vary no more than this are left out (0: only constant ones).
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input.
    """
    moments = _moments(codes, sigma, minimum_variance)
    bound = None if moments.noise is None else float(0.5 * np.log1p(np.diag(moments.means) / moments.noise).sum())
    return GaussianTotalCorrelation(
        score=_total_correlation(moments.means),
        record=Record(budget, {"points": moments.points}, {"minimum_variance": minimum_variance}),
        sampled=None if moments.samples is None else _total_correlation(moments.samples),
        sampled_bound=bound,
        covariance=moments.covariance,
    )


def gaussian_wasserstein_correlation(
    codes: ArrayLike, sigma: ArrayLike | None = None, *, minimum_variance: float = 0.0, budget: str = "protocol"
) -> GaussianWassersteinCorrelation:
    """Return the Gaussian Wasserstein correlation of codes (N, Z), and of samples where sigma (N, Z) is given.

    Args:
        codes: (N, Z) posterior means.
        sigma: (N, Z) posterior standard deviations.
        minimum_variance: latents whose means vary no more than this are left out (0: only constant ones).
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input.
    """
    moments = _moments(codes, sigma, minimum_variance)
    distance = _wasserstein(moments.means)
    total = float(np.trace(moments.means))
    return GaussianWassersteinCorrelation(
        score=distance,
        record=Record(budget, {"points": moments.points}, {"minimum_variance": minimum_variance}),
        normalised=distance / total if total > 0 else 0.0,
        sampled=None if moments.samples is None else _wasserstein(moments.samples),
        covariance=moments.covariance,
    )


@dataclass(frozen=True, eq=False)
class _Moments:
    """Covariances of means and of samples.

    Args:
        covariance: (Z, Z) of the means.
        means: the same of the latents that are kept.
        noise: mean variance of the posterior of each of these, None without sigma.
        points: N.
    """

    covariance: FloatArray
    means: FloatArray
    noise: FloatArray | None
    points: int

    @property
    def samples(self) -> FloatArray | None:
        """The covariance of samples of the latents that are kept, None without sigma."""
        return None if self.noise is None else np.asarray(self.means + np.diag(self.noise))


def _moments(codes: ArrayLike, sigma: ArrayLike | None, minimum_variance: float) -> _Moments:
    checked = as_codes(codes)
    values = checked.astype(np.float64)
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    constant = np.ptp(checked, axis=0) == 0
    covariance[constant], covariance[:, constant] = 0.0, 0.0
    kept = np.diag(covariance) > minimum_variance
    means = covariance[np.ix_(kept, kept)]
    if sigma is None:
        return _Moments(covariance, means, None, len(checked))
    deviations = as_array(sigma, "sigma").astype(np.float64)
    if deviations.shape != checked.shape:
        raise UserError(
            f"sigma of shape {deviations.shape} for codes of shape {checked.shape}",
            "must have the same shape",
            "give one standard deviation per code",
        )
    if not (np.isfinite(deviations).all() and (deviations > 0).all()):
        raise UserError("sigma that is not finite and positive", "must be standard deviations", "give exp(log sigma)")
    return _Moments(covariance, means, (deviations**2).mean(axis=0)[kept], len(checked))


def _total_correlation(covariance: FloatArray) -> float:
    scale = np.sqrt(np.diag(covariance))
    values = np.linalg.eigvalsh(covariance / np.outer(scale, scale)) if len(scale) else np.ones(1)
    if values[0] <= len(values) * np.finfo(np.float64).eps:
        return float("inf")
    return float(max(0.0, -0.5 * np.log(values).sum()))


def _wasserstein(covariance: FloatArray) -> float:
    scale = np.sqrt(np.diag(covariance))
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance * np.outer(scale, scale)), 0.0))
    return float(max(0.0, 2.0 * np.trace(covariance) - 2.0 * roots.sum()))


def _run_total(data: Inputs, budget: str, seed: int) -> GaussianTotalCorrelation:
    return gaussian_total_correlation(data.codes, data.sigma, budget=budget)


def _run_wasserstein(data: Inputs, budget: str, seed: int) -> GaussianWassersteinCorrelation:
    return gaussian_wasserstein_correlation(data.codes, data.sigma, budget=budget)


METRICS.register("gaussian_total_correlation")(
    Metric(GaussianTotalCorrelation, _run_total, "unlabelled", ("score", "sampled", "sampled_bound"))
)
METRICS.register("gaussian_wasserstein_correlation")(
    Metric(GaussianWassersteinCorrelation, _run_wasserstein, "unlabelled", ("score", "normalised", "sampled"))
)
