"""How well decoded logits explain an image, in nats per image, and the image that the logits stand for."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pbt_disent.models.gaussian import LOG_TWO_PI

__all__ = ["LIKELIHOODS", "negative_log_likelihood", "negative_log_likelihoods"]


def _bernoulli(logits: Tensor, images: Tensor, reduction: str) -> Tensor:
    """Cross entropy; a pixel in 0 to 1 counts as the probability of being lit."""
    return functional.binary_cross_entropy_with_logits(logits, images, reduction=reduction)


def _gaussian(logits: Tensor, images: Tensor, reduction: str) -> Tensor:
    """Normal around sigmoid(logits) with unit variance, so up to a constant half the squared error."""
    pixels = images.numel() if reduction == "sum" else 1
    return 0.5 * (functional.mse_loss(torch.sigmoid(logits), images, reduction=reduction) + pixels * LOG_TWO_PI)


def _laplace(logits: Tensor, images: Tensor, reduction: str) -> Tensor:
    """Laplace around sigmoid(logits) with unit scale, so up to a constant the absolute error."""
    pixels = images.numel() if reduction == "sum" else 1
    return functional.l1_loss(torch.sigmoid(logits), images, reduction=reduction) + pixels * math.log(2)


LIKELIHOODS: dict[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "bernoulli": _bernoulli,
    "gaussian": _gaussian,
    "laplace": _laplace,
}


def negative_log_likelihood(name: str, logits: Tensor, images: Tensor) -> Tensor:
    """Mean over the batch of -log p(image | logits), summed over pixels.

    Args:
        name: one of `LIKELIHOODS`; all of them decode to sigmoid(logits).
        logits: (B, C, H, W).
        images: (B, C, H, W) in 0 to 1.
    """
    return LIKELIHOODS[name](logits, images, "sum") / images.shape[0]


def negative_log_likelihoods(name: str, logits: Tensor, images: Tensor) -> Tensor:
    """As `negative_log_likelihood`, for each image on its own: (B,)."""
    return LIKELIHOODS[name](logits, images, "none").flatten(1).sum(1)
