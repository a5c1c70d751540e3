"""Covariance and correlation of codes in a batch, and the total correlation of a Gaussian that has them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["active_mask", "covariance", "gaussian_total_correlation", "moment_penalty"]


def covariance(codes: Tensor) -> Tensor:
    """Return the (Z, Z) covariance of codes (B, Z), divided by B."""
    centred = codes - codes.mean(0)
    return centred.t() @ centred / codes.shape[0]


def moment_penalty(matrix: Tensor, off_diagonal: float, diagonal: float) -> Tensor:
    """Weighted squared distance of a covariance (Z, Z) from the identity (Kumar et al. 2018, DIP-VAE)."""
    variances = matrix.diagonal()
    apart = matrix.square().sum() - variances.square().sum()
    return off_diagonal * apart + diagonal * (variances - 1).square().sum()


def active_mask(codes: Tensor, threshold: float) -> Tensor:
    """Return, for each latent, whether its codes (B, Z) vary by at least `threshold`; (Z,) bool."""
    return codes.detach().var(0, correction=0) >= threshold


def gaussian_total_correlation(matrix: Tensor, active: Tensor, ridge: float = 1e-4) -> Tensor:
    """Return -1/2 ln det of the correlation matrix of a covariance (Z, Z), over active latents, in nats.

    Misses every dependence that is not linear. Latents that are not active, or constant, count as independent.

    Args:
        matrix: (Z, Z) covariance.
        active: (Z,) bool.
        ridge: added to the diagonal of the correlation matrix before it is normalised again; keeps the value
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
