"""What all Gaussian variational auto-encoders share: networks, sampling, the parts of their loss, one Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from pbt_disent.models.contract import Batch, LossTerms, Objective, Representation
from pbt_disent.models.gaussian import kl_per_latent, reparameterise
from pbt_disent.models.networks import ImageShape
from pbt_disent.registry import Choice
from pbt_disent.types import Hyperparameters

__all__ = ["GaussianVAE", "Pass", "kl_terms"]


@dataclass(frozen=True)
class Pass:
    """One batch through encoder and decoder.

    Args:
        mean: (B, Z).
        log_sigma: (B, Z).
        z: (B, Z) samples.
        reconstruction: -log p(x | z), nats per image, a scalar.
        kl: (Z,) true KL to the prior, nats per image.
    """

    mean: Tensor
    log_sigma: Tensor
    z: Tensor
    reconstruction: Tensor
    kl: Tensor


def kl_terms(passed: Pass) -> dict[str, Tensor]:
    """Return the KL in closed form and the ELBO that goes with it."""
    kl = passed.kl.sum().detach()
    return {"kl": kl, "elbo": -(passed.reconstruction.detach() + kl)}


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
        """Return means and log standard deviations, (B, Z) each."""
        mean, log_sigma = self.encoder(images).chunk(2, dim=1)
        return mean, log_sigma

    def run(self, images: Tensor, generator: torch.Generator) -> Pass:
        """Encode, sample once, decode and compare, for (B, C, H, W) images in 0 to 1."""
        mean, log_sigma = self.posterior(images)
        z = reparameterise(mean, log_sigma, generator)
        reconstruction = self.options.likelihood.loss(self.decoder(z), images)
        return Pass(mean, log_sigma, z, reconstruction, kl_per_latent(mean, log_sigma).mean(0))

    def penalty(self, passed: Pass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is added to the reconstruction loss, and the terms that explain it."""
        raise NotImplementedError

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return reconstruction loss plus `penalty`, for the one optimiser ``model``."""
        passed = self.run(batch.images, generator)
        penalty, terms = self.penalty(passed, step)
        loss = passed.reconstruction + penalty
        return {"model": LossTerms(loss, {"reconstruction": passed.reconstruction.detach(), **terms})}

    def represent(self, images: Tensor) -> Representation:
        """Encode (B, C, H, W) images in 0 to 1; information is the true KL per latent."""
        mean, log_sigma = self.posterior(images)
        return Representation(mean, log_sigma, kl_per_latent(mean, log_sigma).mean(0))

    def decode(self, codes: Tensor) -> Tensor:
        """Decode (B, Z) codes to (B, C, H, W) images in 0 to 1."""
        return torch.sigmoid(self.decoder(codes))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return one Adam over everything, with torch's default betas."""
        return {"model": torch.optim.Adam(self.parameters(), lr=self.values["lr"], fused=True)}
