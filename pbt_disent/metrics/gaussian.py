"""Total correlation and Wasserstein correlation of codes that are modelled as Gaussian: 0 if uncorrelated.

With covariance C of the codes and D its diagonal part, as in disentanglement_lib (arXiv 1811.12359),

    total correlation        TC = -1/2 ln det corr(C)                       (infinite if C is singular)
    Wasserstein correlation  W  = 2 tr C - 2 tr (C D)^(1/2)

Codes are means. RTC-VAE (arXiv 2009.05739) compares them with samples, which by the law of total covariance have
covariance C + E diag sigma^2; with `sigma` both are returned. The TC of samples is at most 1/2 sum ln(1 + C_jj / E
sigma_j^2), whatever the means do. Both metrics are of second order: z2 = z1^2 counts as uncorrelated. Constant latents
are left out, where disentanglement_lib returns NaN; passive latents can be left out by their variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import as_array, as_codes
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, register_metric
from pbt_disent.types import FloatArray

__all__ = [
    "GaussianTotalCorrelation",
    "GaussianWassersteinCorrelation",
    "gaussian_total_correlation",
    "gaussian_wasserstein_correlation",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class GaussianTotalCorrelation(MetricResult):
    """The Gaussian total correlation in nats.

    Args:
        score: The total correlation of the means, infinite if one latent is a linear function of others.
        sampled: The total correlation of samples, or None without `sigma`.
        sampled_bound: The largest `sampled` that is possible with these variances, or None without `sigma`.
        covariance: The covariance of the means, of shape (Z, Z).
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    sampled: float | None
    sampled_bound: float | None
    covariance: FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class GaussianWassersteinCorrelation(MetricResult):
    """The squared Wasserstein distance to the product of the marginals, in squared units of the codes.

    Args:
        score: The Wasserstein correlation of the means.
        normalised: The score divided by the sum of the variances, 0 if all are 0.
        sampled: The Wasserstein correlation of samples, or None without `sigma`.
        covariance: The covariance of the means, of shape (Z, Z).
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    normalised: float
    sampled: float | None
    covariance: FloatArray


def gaussian_total_correlation(
    codes: ArrayLike, sigma: ArrayLike | None = None, *, minimum_variance: float = 0.0, budget: str = "protocol"
) -> GaussianTotalCorrelation:
    """Return the Gaussian total correlation TC = -1/2 ln det corr(C), of samples too where sigma is given.

    Args:
        codes: The posterior means, an array of shape (N, Z), with covariance C.
        sigma: The posterior standard deviations, an array of shape (N, Z).
        minimum_variance: The variance that a latent's means must exceed to count; 0 leaves out constant latents only.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import gaussian_total_correlation
        >>> codes = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], size=5000)
        >>> result = gaussian_total_correlation(codes, sigma=np.ones_like(codes))
        >>> round(result.score, 2), round(result.sampled, 2)
        (0.52, 0.09)
    """
    moments = _moments(codes, sigma, minimum_variance)
    bound = None if moments.noise is None else float(0.5 * np.log1p(np.diag(moments.means) / moments.noise).sum())
    return GaussianTotalCorrelation(
        score=_total_correlation(moments.means),
        provenance=Provenance(budget, {"points": moments.points}, {"minimum_variance": minimum_variance}),
        sampled=None if moments.samples is None else _total_correlation(moments.samples),
        sampled_bound=bound,
        covariance=moments.covariance,
    )


def gaussian_wasserstein_correlation(
    codes: ArrayLike, sigma: ArrayLike | None = None, *, minimum_variance: float = 0.0, budget: str = "protocol"
) -> GaussianWassersteinCorrelation:
    """Return the Gaussian Wasserstein correlation W = 2 tr C - 2 tr (C D)^(1/2), of samples too where sigma is given.

    Args:
        codes: The posterior means, an array of shape (N, Z), with covariance C and its diagonal part D.
        sigma: The posterior standard deviations, an array of shape (N, Z).
        minimum_variance: The variance that a latent's means must exceed to count; 0 leaves out constant latents only.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import gaussian_wasserstein_correlation
        >>> codes = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], size=5000)
        >>> result = gaussian_wasserstein_correlation(codes)
        >>> round(result.score, 2), round(result.normalised, 2)
        (0.44, 0.22)
    """
    moments = _moments(codes, sigma, minimum_variance)
    distance = _wasserstein(moments.means)
    total = float(np.trace(moments.means))
    return GaussianWassersteinCorrelation(
        score=distance,
        provenance=Provenance(budget, {"points": moments.points}, {"minimum_variance": minimum_variance}),
        normalised=distance / total if total > 0 else 0.0,
        sampled=None if moments.samples is None else _wasserstein(moments.samples),
        covariance=moments.covariance,
    )


@dataclass(frozen=True, eq=False)
class _Moments:
    """The covariances of means and of samples.

    Args:
        covariance: The covariance of the means of all latents, of shape (Z, Z).
        means: The covariance of the means of the latents that count.
        noise: The mean posterior variance of each of these, or None without sigma.
        points: The number of points.
    """

    covariance: FloatArray
    means: FloatArray
    noise: FloatArray | None
    points: int

    @property
    def samples(self) -> FloatArray | None:
        """The covariance of samples of the latents that count, or None without sigma."""
        return None if self.noise is None else np.asarray(self.means + np.diag(self.noise))


def _moments(codes: ArrayLike, sigma: ArrayLike | None, minimum_variance: float) -> _Moments:
    checked = as_codes(codes)
    values = checked.astype(np.float64)
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    constant = np.ptp(checked, axis=0) == 0
    covariance[constant], covariance[:, constant] = 0.0, 0.0
    counted = np.diag(covariance) > minimum_variance
    means = covariance[np.ix_(counted, counted)]
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
    return _Moments(covariance, means, (deviations**2).mean(axis=0)[counted], len(checked))


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


@register_metric(
    "gaussian_total_correlation",
    GaussianTotalCorrelation,
    "unlabelled",
    parts=("score", "sampled", "sampled_bound"),
)
def _run_total_correlation(inputs: MetricInputs, budget: str, seed: int) -> GaussianTotalCorrelation:
    return gaussian_total_correlation(inputs.codes, inputs.sigma, budget=budget)


@register_metric(
    "gaussian_wasserstein_correlation",
    GaussianWassersteinCorrelation,
    "unlabelled",
    parts=("score", "normalised", "sampled"),
)
def _run_wasserstein_correlation(inputs: MetricInputs, budget: str, seed: int) -> GaussianWassersteinCorrelation:
    return gaussian_wasserstein_correlation(inputs.codes, inputs.sigma, budget=budget)
