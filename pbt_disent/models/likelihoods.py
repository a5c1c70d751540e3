"""How well decoded logits explain an image, in nats per image; every likelihood decodes to sigmoid(logits)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from pbt_disent.models.gaussian_vae import LOG_TWO_PI
from pbt_disent.registry import Component, Registry

__all__ = ["LIKELIHOODS", "Bernoulli", "Gaussian", "Laplace", "Likelihood"]

LIKELIHOODS: Registry[type[Likelihood]] = Registry("likelihood", "pbt_disent.models.likelihoods")

Reduction = Literal["sum", "none"]


class Likelihood(Component):
    """Base of all likelihoods."""

    def pixel_losses(self, logits: Tensor, images: Tensor, reduction: Reduction) -> Tensor:
        """Return -log p(pixel | logit) in nats, of each pixel or summed over all.

        Args:
            logits: The logits, (B, C, H, W).
            images: The images, (B, C, H, W) in 0 to 1.
            reduction: Either ``none``, for a loss of each pixel, or ``sum``, for a scalar.
        """
        raise NotImplementedError

    def loss(self, logits: Tensor, images: Tensor) -> Tensor:
        """Return the mean over the batch of -log p(image | logits), summed over pixels: a scalar."""
        return self.pixel_losses(logits, images, "sum") / images.shape[0]

    def image_losses(self, logits: Tensor, images: Tensor) -> Tensor:
        """Return -log p(image | logits) of each image, summed over pixels: (B,)."""
        return self.pixel_losses(logits, images, "none").flatten(1).sum(1)


@LIKELIHOODS.register("bernoulli")
class Bernoulli(Likelihood):
    """Cross entropy; a pixel in 0 to 1 counts as the probability of being lit.

    >>> Bernoulli().loss(torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8))  # 64 ln 2
    tensor(44.3614)
    """

    def pixel_losses(self, logits: Tensor, images: Tensor, reduction: Reduction) -> Tensor:
        """See `Likelihood.pixel_losses`."""
        return functional.binary_cross_entropy_with_logits(logits, images, reduction=reduction)


@LIKELIHOODS.register("gaussian")
class Gaussian(Likelihood):
    """Normal around sigmoid(logits) with unit variance, so up to a constant half the squared error."""

    def pixel_losses(self, logits: Tensor, images: Tensor, reduction: Reduction) -> Tensor:
        """See `Likelihood.pixel_losses`."""
        pixels = images.numel() if reduction == "sum" else 1
        return 0.5 * (functional.mse_loss(torch.sigmoid(logits), images, reduction=reduction) + pixels * LOG_TWO_PI)


@LIKELIHOODS.register("laplace")
class Laplace(Likelihood):
    """Laplace around sigmoid(logits) with unit scale, so up to a constant the absolute error."""

    def pixel_losses(self, logits: Tensor, images: Tensor, reduction: Reduction) -> Tensor:
        """See `Likelihood.pixel_losses`."""
        pixels = images.numel() if reduction == "sum" else 1
        return functional.l1_loss(torch.sigmoid(logits), images, reduction=reduction) + pixels * math.log(2)
