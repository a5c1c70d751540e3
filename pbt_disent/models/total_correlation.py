"""Estimates of the aggregate posterior q(z) and of its marginals from one batch (Chen et al. 2018; papers.md 0.1).

Both estimators are biased, and the bias depends on batch size and posterior width (papers.md 0.1.2): batch size is a
hidden weight of the total correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pbt_disent.models.gaussian import LOG_TWO_PI, log_normal, log_prior

__all__ = ["ESTIMATORS", "Decomposition", "decompose", "stratified_log_weights"]

ESTIMATORS = ("mws", "mss")

_NEGLIGIBLE = -64.0
"""Least log of a term, relative to the greatest of its sum: smaller ones become subnormal, which CPUs are slow at."""


@dataclass(frozen=True)
class Decomposition:
    """The three parts of the sampled KL(q(z|x) || p(z)), nats per image, averaged over the batch (papers.md 0.1.1).

    Their sum is the sampled KL for any estimator.
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_kl: Tensor

    def without_offset(self, offset: float, latents: int) -> Decomposition:
        """Take out a constant that was subtracted from every log density estimate; the sum stays."""
        return Decomposition(
            self.mutual_information - offset,
            self.total_correlation - (latents - 1) * offset,
            self.dimension_kl + latents * offset,
        )


def stratified_log_weights(batch: int, dataset_size: int, like: Tensor) -> Tensor:
    """Log weights (B, B) of minibatch stratified sampling: entry (i, m) weighs q(z_i | x_m).

    With M = B - 1: 1/N on the diagonal, (N - M)/(N M) for one other image of each row, 1/M for the rest, so that every
    row sums to 1 (papers.md 0.1.2, where the widely copied matrix is shown to be wrong).

    Args:
        batch: B, at least 2.
        dataset_size: N, at least B.
        like: a tensor with the wanted type and device.
    """
    others = batch - 1
    weights = torch.full((batch, batch), 1 / others, dtype=like.dtype, device=like.device)
    rows = torch.arange(batch, device=like.device)
    weights[rows, rows] = 1 / dataset_size
    weights[rows, (rows + 1) % batch] = (dataset_size - others) / (dataset_size * others)
    return weights.log()


def decompose(z: Tensor, mean: Tensor, log_sigma: Tensor, dataset_size: int, estimator: str) -> Decomposition:
    """Split the sampled KL of a batch into index-code mutual information, total correlation and dimension-wise KL.

    Args:
        z: (B, Z) one sample per image.
        mean: (B, Z).
        log_sigma: (B, Z).
        dataset_size: N, of the set that the batch was drawn from.
        estimator: ``mws`` (minibatch weighted sampling; its total correlation carries (Z - 1) ln N) or ``mss``
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
        z: (B, Z).
        mean: (B, Z).
        log_sigma: (B, Z).
        weights: (B, B) log weight of each term (i, m).
    """
    pairs = log_normal(z.t().unsqueeze(2), mean.t().unsqueeze(1), log_sigma.t().unsqueeze(1))
    joint = pairs.sum(0)
    if weights is not None:
        pairs, joint = pairs + weights, joint + weights
    return torch.logsumexp(joint, 1), torch.logsumexp(pairs, 2).sum(0)


class _LogSums(torch.autograd.Function):
    """`_log_sums` with the gradients written by hand; it has no second derivatives.

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
        of_aggregate, of_marginals = (each.contiguous() for each in gradients[:2])
        for_pairs = (pairs * of_marginals).add_(joint * of_aggregate)
        for_means = for_pairs * standard
        for_log_sigma = torch.linalg.vecdot(for_means, standard) - for_pairs.sum(2)
        for_means *= precision
        return -for_means.sum(1).t(), for_means.sum(2).t(), for_log_sigma.t(), None


def _standardised(z: Tensor, mean: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return (z_i - mean_m) / sigma_m, (Z, m, i), and 1 / sigma_m, (Z, m, 1)."""
    z, mean, log_sigma = (each.t().contiguous() for each in (z, mean, log_sigma))
    precision = torch.exp(-log_sigma).unsqueeze(2)
    return (z.unsqueeze(1) - mean.unsqueeze(2)).mul_(precision), precision


def _to_shares(logs: Tensor) -> Tensor:
    """Return the log of the sum of exp(logs) over the last axis but one; each term becomes its share of the sum."""
    top = logs.amax(-2, keepdim=True)
    total = logs.sub_(top).clamp_min_(_NEGLIGIBLE).exp_().sum(-2, keepdim=True)
    logs.div_(total)
    return (top + total.log()).squeeze(-2)


_log_sums_by_hand: Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, ...]] = _LogSums.apply
