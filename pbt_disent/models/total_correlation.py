"""Total correlation of codes: estimated from the posteriors of a batch, or from their covariance.

The KL of a posterior to the prior splits exactly into three parts (Chen et al. 2018, arXiv 1802.04942, eq. 2):
E_x KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j)). The middle one is the total
correlation. Both estimators of q(z) from a batch are biased, and the bias depends on the batch size and on the width of
the posteriors, so the batch size is a hidden weight of the total correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pbt_disent.models.gaussian_vae import LOG_TWO_PI, log_normal, log_prior

__all__ = [
    "ESTIMATORS",
    "Decomposition",
    "active_mask",
    "covariance",
    "decompose",
    "moment_penalty",
    "stratified_log_weights",
    "total_correlation_of_covariance",
]

ESTIMATORS = ("mws", "mss")
"""Minibatch weighted and minibatch stratified sampling (arXiv 1802.04942, appendix C)."""

_NEGLIGIBLE = -64.0
"""Least log of a term, relative to the greatest of its sum: smaller ones become subnormal, which CPUs are slow at."""


@dataclass(frozen=True)
class Decomposition:
    """The three parts of the sampled KL(q(z|x) || p(z)), in nats per image, averaged over the batch.

    Their sum is the sampled KL for any estimator of q(z), because its estimates cancel (arXiv 1802.04942, eq. 2).

    Args:
        mutual_information: The index-code mutual information, a scalar.
        total_correlation: The total correlation, a scalar.
        dimension_kl: The KL of each latent's aggregate posterior to the prior, added up over latents, a scalar.
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_kl: Tensor

    def without_offset(self, offset: float, latents: int) -> Decomposition:
        """Return the parts without a constant that was subtracted from every log density estimate; the sum stays.

        Args:
            offset: The constant in nats.
            latents: The number of latents, Z.
        """
        return Decomposition(
            self.mutual_information - offset,
            self.total_correlation - (latents - 1) * offset,
            self.dimension_kl + latents * offset,
        )


def stratified_log_weights(batch: int, dataset_size: int, like: Tensor) -> Tensor:
    """Return the log weights (B, B) of minibatch stratified sampling: entry (i, m) weighs q(z_i | x_m).

    With M = B - 1 they are 1/N on the diagonal, (N - M)/(N M) for one other image of each row, and 1/M for the rest, so
    that every row sums to 1 (arXiv 1802.04942, appendix C.2). In widely copied code the 1/N stands in the first column
    instead of the diagonal, and one row does not sum to 1.

    >>> stratified_log_weights(3, 10, torch.zeros(())).exp()
    tensor([[0.1000, 0.4000, 0.5000],
            [0.5000, 0.1000, 0.4000],
            [0.4000, 0.5000, 0.1000]])

    Args:
        batch: The number of images in the batch, B, at least 2.
        dataset_size: The number of images in the data set, N, at least B.
        like: A tensor with the type and device of the result.
    """
    rest = batch - 1
    weights = torch.full((batch, batch), 1 / rest, dtype=like.dtype, device=like.device)
    rows = torch.arange(batch, device=like.device)
    weights[rows, rows] = 1 / dataset_size
    weights[rows, (rows + 1) % batch] = (dataset_size - rest) / (dataset_size * rest)
    return weights.log()


def decompose(z: Tensor, mean: Tensor, log_sigma: Tensor, dataset_size: int, estimator: str) -> Decomposition:
    """Split the sampled KL of a batch into index-code mutual information, total correlation and dimension-wise KL.

    Two latents that are copies of each other have a total correlation, two independent ones have next to none:

    >>> z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> copies = z[:, :1].expand(-1, 2)
    >>> log_sigma = torch.full((500, 2), -1.0)
    >>> for codes in (copies, z):
    ...     parts = decompose(codes, codes, log_sigma, 500, "mws").without_offset(math.log(500), 2)
    ...     print(f"{parts.total_correlation:.1f}")
    1.2
    0.1

    Args:
        z: One sample of the posterior of each image, (B, Z).
        mean: The posterior means, (B, Z).
        log_sigma: The logarithms of the posterior standard deviations, (B, Z).
        dataset_size: The number of images in the set that the batch was drawn from, N.
        estimator: Either ``mws`` (minibatch weighted sampling; its total correlation carries (Z - 1) ln N) or ``mss``
            (minibatch stratified sampling).
    """
    batch, latents = z.shape
    if estimator == "mss":
        weights, constant = stratified_log_weights(batch, dataset_size, z), 0.0
    else:
        weights, constant = None, math.log(batch * dataset_size)
    log_sums = _log_sums_by_hand if z.device.type == "cpu" else _log_sums
    aggregate, marginals = log_sums(z, mean, log_sigma, weights)[:2]
    aggregate, marginals = aggregate - constant, marginals - latents * constant
    conditional = log_normal(z, mean, log_sigma).sum(1)
    return Decomposition(
        (conditional - aggregate).mean(),
        (aggregate - marginals).mean(),
        (marginals - log_prior(z).sum(1)).mean(),
    )


def _log_sums(z: Tensor, mean: Tensor, log_sigma: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return log sum_m q(z_i | x_m), and the same of each latent, added up over latents: (B,) each.

    Args:
        z: The samples, (B, Z).
        mean: The posterior means, (B, Z).
        log_sigma: The logarithms of the posterior standard deviations, (B, Z).
        weights: The log weight of each term (i, m), (B, B).
    """
    pairs = log_normal(z.t().unsqueeze(2), mean.t().unsqueeze(1), log_sigma.t().unsqueeze(1))
    joint = pairs.sum(0)
    if weights is not None:
        pairs, joint = pairs + weights, joint + weights
    return torch.logsumexp(joint, 1), torch.logsumexp(pairs, 2).sum(0)


class _LogSums(torch.autograd.Function):
    """`_log_sums` with the gradients written by hand; it has no second derivatives.

    With automatic differentiation a training step at 32x32 takes 2.0 times as long in batches of 1024, 1.14 times in
    batches of 256, and as long in batches of 64 (one thread of a CPU).

    Its tensors have the shape (Z, m, i), so that sums over m add up whole rows. Beside the two results it returns each
    term's share of its sum, (Z, m, i) and (m, i), for the way back.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        z: Tensor, mean: Tensor, log_sigma: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        standard, _ = _standardised(z, mean, log_sigma)
        pairs = standard.mul_(standard).mul_(-0.5).sub_((log_sigma.t() + 0.5 * LOG_TWO_PI).unsqueeze(2))
        joint = pairs.sum(0)
        if weights is not None:
            pairs, joint = pairs.add_(weights.t()), joint.add_(weights.t())
        aggregate, marginals = _to_shares(joint), _to_shares(pairs)
        return aggregate, marginals.sum(0), pairs, joint

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        context.mark_non_differentiable(*output[2:])
        context.save_for_backward(*inputs[:3], *output[2:])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        z, mean, log_sigma, pairs, joint = context.saved_tensors
        standard, precision = _standardised(z, mean, log_sigma)
        of_aggregate, of_marginals = (gradient.contiguous() for gradient in gradients[:2])
        for_pairs = (pairs * of_marginals).add_(joint * of_aggregate)
        for_means = for_pairs * standard
        for_log_sigma = torch.linalg.vecdot(for_means, standard) - for_pairs.sum(2)
        for_means *= precision
        return -for_means.sum(1).t(), for_means.sum(2).t(), for_log_sigma.t(), None


def _standardised(z: Tensor, mean: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return (z_i - mean_m) / sigma_m, (Z, m, i), and 1 / sigma_m, (Z, m, 1)."""
    z, mean, log_sigma = (tensor.t().contiguous() for tensor in (z, mean, log_sigma))
    precision = torch.exp(-log_sigma).unsqueeze(2)
    return (z.unsqueeze(1) - mean.unsqueeze(2)).mul_(precision), precision


def _to_shares(logs: Tensor) -> Tensor:
    """Return the log of the sum of exp(logs) over the last axis but one; each term becomes its share of the sum."""
    top = logs.amax(-2, keepdim=True)
    total = logs.sub_(top).clamp_min_(_NEGLIGIBLE).exp_().sum(-2, keepdim=True)
    logs.div_(total)
    return (top + total.log()).squeeze(-2)


_log_sums_by_hand: Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, ...]] = _LogSums.apply


def covariance(codes: Tensor) -> Tensor:
    """Return the (Z, Z) covariance of codes (B, Z), divided by B."""
    centred = codes - codes.mean(0)
    return centred.t() @ centred / codes.shape[0]


def moment_penalty(matrix: Tensor, off_diagonal: float, diagonal: float) -> Tensor:
    """Return the weighted squared distance of a covariance from the identity (DIP-VAE, arXiv 1711.00848, eq. 6, 7).

    Args:
        matrix: The covariance, (Z, Z).
        off_diagonal: The weight of the squared covariances.
        diagonal: The weight of the squared differences of the variances from 1.
    """
    variances = matrix.diagonal()
    apart = matrix.square().sum() - variances.square().sum()
    return off_diagonal * apart + diagonal * (variances - 1).square().sum()


def active_mask(codes: Tensor, threshold: float) -> Tensor:
    """Return, for each latent, whether its codes (B, Z) vary by at least `threshold`; (Z,) bool."""
    return codes.detach().var(0, correction=0) >= threshold


def total_correlation_of_covariance(matrix: Tensor, active: Tensor, ridge: float = 1e-4) -> Tensor:
    """Return the total correlation of a Gaussian: -1/2 ln det of its correlation matrix, over active latents, in nats.

    It misses every dependence that is not linear. Latents that are not active, or constant, count as independent.

    >>> matrix = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    >>> print(f"{total_correlation_of_covariance(matrix, torch.tensor([True, True])):.2f}")
    0.51

    Args:
        matrix: The covariance, (Z, Z).
        active: Which latents count, (Z,) bool.
        ridge: What is added to the diagonal of the correlation matrix before it is normalised again; it keeps the value
            finite for codes that are copies of each other.
    """
    active = active & (matrix.diagonal() > 0)
    scale = torch.where(active, matrix.diagonal(), 1.0).rsqrt()
    correlation = matrix * scale * scale.unsqueeze(1)
    both = active & active.unsqueeze(1)
    eye = torch.eye(len(active), dtype=matrix.dtype, device=matrix.device)
    correlation = torch.where(both, (correlation + ridge * eye) / (1 + ridge), eye)
    log_determinant: Tensor = torch.linalg.slogdet(correlation).logabsdet
    return -0.5 * log_determinant
