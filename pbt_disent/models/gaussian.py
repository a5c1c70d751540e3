"""Diagonal Gaussian posteriors and standard normal priors: densities, divergence, samples. All in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pbt_disent.models.noise import normal

__all__ = ["LOG_TWO_PI", "kl_per_latent", "log_normal", "log_prior", "reparameterise"]

LOG_TWO_PI = math.log(2 * math.pi)


def log_normal(z: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """Log density of N(mean, sigma^2) at z, element by element (broadcast)."""
    standard = (z - mean) * torch.exp(-log_sigma)
    return -0.5 * (standard * standard + LOG_TWO_PI) - log_sigma


def log_prior(z: Tensor) -> Tensor:
    """Log density of N(0, 1) at z, element by element."""
    return -0.5 * (z * z + LOG_TWO_PI)


def kl_per_latent(mean: Tensor, log_sigma: Tensor) -> Tensor:
    """KL(N(mean, sigma^2) || N(0, 1)) of every image and latent, (B, Z)."""
    return 0.5 * (mean * mean + torch.exp(2 * log_sigma) - 1) - log_sigma


def reparameterise(mean: Tensor, log_sigma: Tensor, generator: torch.Generator) -> Tensor:
    """One sample of N(mean, sigma^2) per element, differentiable in both parameters."""
    return mean + torch.exp(log_sigma) * normal(mean.shape, generator, mean)
