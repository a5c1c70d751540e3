"""What all Gaussian variational auto-encoders share: densities, networks, sampling, the parts of their loss.

A Gaussian VAE (Kingma and Welling 2014, arXiv 1312.6114) has the posterior q(z|x) = N(mean(x), diag sigma(x)^2) and the
prior p(z) = N(0, I). An objective that differs from it in its penalty alone overrides `GaussianVAE.penalty`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from pbt_disent.models.contract import Batch, LossTerms, Objective, Representation
from pbt_disent.models.networks import ImageShape
from pbt_disent.models.noise import normal
from pbt_disent.registry import Choice
from pbt_disent.types import Hyperparameters

__all__ = [
    "LOG_TWO_PI",
    "ForwardPass",
    "GaussianVAE",
    "kl_per_latent",
    "kl_terms",
    "log_normal",
    "log_prior",
    "reparameterise",
]

LOG_TWO_PI = math.log(2 * math.pi)


def log_normal(z: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """Return the log density of N(mean, sigma^2) at z in nats, element by element.

    Args:
        z: The samples.
        mean: The means, of a shape that broadcasts with that of the samples.
        log_sigma: The logarithms of the standard deviations, of the shape of the means.
    """
    standard = (z - mean) * torch.exp(-log_sigma)
    return -0.5 * (standard * standard + LOG_TWO_PI) - log_sigma


def log_prior(z: Tensor) -> Tensor:
    """Return the log density of N(0, 1) at z in nats, element by element."""
    return -0.5 * (z * z + LOG_TWO_PI)


def kl_per_latent(mean: Tensor, log_sigma: Tensor) -> Tensor:
    """Return KL(N(mean, sigma^2) || N(0, 1)) in nats, element by element (arXiv 1312.6114, appendix B).

    >>> kl_per_latent(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2))
    tensor([[0., 2.]])

    Args:
        mean: The posterior means, (B, Z).
        log_sigma: The logarithms of the posterior standard deviations, (B, Z).
    """
    return 0.5 * (mean * mean + torch.exp(2 * log_sigma) - 1) - log_sigma


def reparameterise(mean: Tensor, log_sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Return a sample of N(mean, sigma^2), differentiable in both parameters (arXiv 1312.6114, section 2.4).

    Args:
        mean: The posterior means, (B, Z).
        log_sigma: The logarithms of the posterior standard deviations, (B, Z).
        generator: The random stream of the noise.
    """
    return mean + torch.exp(log_sigma) * normal(mean.shape, generator, mean)


@dataclass(frozen=True)
class ForwardPass:
    """What one batch of B images gave on its way through encoder and decoder.

    Args:
        mean: The posterior means, (B, Z).
        log_sigma: The logarithms of the posterior standard deviations, (B, Z).
        z: A sample of each posterior, (B, Z).
        reconstruction: The mean of -log p(x|z) in nats per image, a scalar.
        kl: The mean KL of each latent to the prior in closed form, in nats per image, (Z,).
    """

    mean: Tensor
    log_sigma: Tensor
    z: Tensor
    reconstruction: Tensor
    kl: Tensor


def kl_terms(forward_pass: ForwardPass) -> dict[str, Tensor]:
    """Return the KL in closed form and the ELBO that goes with it, as terms that explain a loss."""
    kl = forward_pass.kl.sum().detach()
    return {"kl": kl, "elbo": -(forward_pass.reconstruction.detach() + kl)}


class GaussianVAE(Objective):
    """Base of the objectives with q(z|x) = N(mean, diag sigma^2) and p(z) = N(0, I)."""

    class Options(Objective.Options):
        """The options that all Gaussian VAEs share."""

        likelihood: Annotated[Any, Choice("likelihood", "bernoulli")] = Field(
            "bernoulli", validate_default=True, description="The distribution of a pixel."
        )

    options: Options

    def __init__(
        self, options: Options, hyperparameters: Hyperparameters, image_shape: ImageShape, dataset_size: int
    ) -> None:
        super().__init__(options, hyperparameters, image_shape, dataset_size)
        self.encoder = options.network.encoder(image_shape, 2 * options.latents)
        self.decoder = options.network.decoder(image_shape, options.latents)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means and log standard deviations, (B, Z) each, of the posteriors of (B, C, H, W) images."""
        mean, log_sigma = self.encoder(images).chunk(2, dim=1)
        return mean, log_sigma

    def run(self, images: Tensor, generator: torch.Generator) -> ForwardPass:
        """Encode, sample once, decode and compare.

        Args:
            images: The images, (B, C, H, W) in 0 to 1.
            generator: The random stream of the samples.
        """
        mean, log_sigma = self.posterior(images)
        z = reparameterise(mean, log_sigma, generator)
        reconstruction = self.options.likelihood.loss(self.decoder(z), images)
        return ForwardPass(mean, log_sigma, z, reconstruction, kl_per_latent(mean, log_sigma).mean(0))

    def penalty(self, forward_pass: ForwardPass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is added to the reconstruction loss, and the terms that explain it.

        Args:
            forward_pass: The batch on its way through the networks.
            step: The step of the member's life.
        """
        raise NotImplementedError

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return reconstruction loss plus `penalty`, for the one optimiser ``model``."""
        forward_pass = self.run(batch.images, generator)
        penalty, terms = self.penalty(forward_pass, step)
        loss = forward_pass.reconstruction + penalty
        return {"model": LossTerms(loss, {"reconstruction": forward_pass.reconstruction.detach(), **terms})}

    def represent(self, images: Tensor) -> Representation:
        """Encode (B, C, H, W) images in 0 to 1; the information of a latent is its KL in closed form."""
        mean, log_sigma = self.posterior(images)
        return Representation(mean, log_sigma, kl_per_latent(mean, log_sigma).mean(0))

    def decode(self, codes: Tensor) -> Tensor:
        """Decode (B, Z) codes to (B, C, H, W) images in 0 to 1."""
        return torch.sigmoid(self.decoder(codes))
