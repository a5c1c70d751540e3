"""Estimates of the aggregate posterior q(z) and of its marginals from one batch (Chen et al. 2018; papers.md 0.1).

Both estimators are biased, and the bias depends on batch size and posterior width (papers.md 0.1.2): batch size is a
hidden weight of the total correlation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pbt_disent.models.gaussian import log_normal, log_prior

__all__ = ["ESTIMATORS", "Decomposition", "decompose", "stratified_log_weights"]

ESTIMATORS = ("mws", "mss")


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
    batch = z.shape[0]
    pairs = log_normal(z.t().unsqueeze(2), mean.t().unsqueeze(1), log_sigma.t().unsqueeze(1))
    conditional = pairs.diagonal(dim1=1, dim2=2).sum(0)
    joint = pairs.sum(0)
    if estimator == "mss":
        weights = stratified_log_weights(batch, dataset_size, z)
        aggregate = torch.logsumexp(joint + weights, 1)
        marginals = torch.logsumexp(pairs + weights, 2).sum(0)
    else:
        constant = math.log(batch * dataset_size)
        aggregate = torch.logsumexp(joint, 1) - constant
        marginals = torch.logsumexp(pairs, 2).sum(0) - z.shape[1] * constant
    return Decomposition(
        (conditional - aggregate).mean(),
        (aggregate - marginals).mean(),
        (marginals - log_prior(z).sum(1)).mean(),
    )
