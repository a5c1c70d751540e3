"""FactorVAE: total correlation by a discriminator of shuffled codes (Kim and Mnih 2018, arXiv 1802.05983, eq. 2)."""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from pbt_disent.config import Hyperparameter
from pbt_disent.models.contract import OBJECTIVES, Batch, LossTerms, hyperparameter
from pbt_disent.models.gaussian_vae import GaussianVAE, kl_terms
from pbt_disent.models.networks import ImageShape
from pbt_disent.models.noise import uniform
from pbt_disent.types import Hyperparameters

__all__ = ["FactorVAE", "shuffle_latents"]


def shuffle_latents(z: Tensor, generator: torch.Generator) -> Tensor:
    """Permute each latent (column) of codes on its own, which makes them samples of the product of marginals.

    This is algorithm 1 of arXiv 1802.05983.

    Args:
        z: The codes, (B, Z).
        generator: The random stream of the permutations.
    """
    order = uniform(z.shape, generator, z).argsort(0)
    return z.gather(0, order)


@OBJECTIVES.register("factorvae")
class FactorVAE(GaussianVAE):
    """Minimises -log p(x|z) + KL + gamma * TC, where TC is the discriminator's mean log odds of real codes.

    The discriminator is part of the member and has an optimiser of its own. The estimate may be negative.
    """

    class Options(GaussianVAE.Options):
        """The options of a FactorVAE."""

        gamma: Hyperparameter = hyperparameter(
            30, 1, 500, optional=True, description="The weight of the total correlation."
        )
        discriminator_lr: Hyperparameter = hyperparameter(
            1e-4, 1e-6, 1e-2, description="The learning rate of the discriminator."
        )
        discriminator_width: int = Field(
            1000, ge=1, le=10_000, description="The number of units of each hidden layer of the discriminator."
        )
        discriminator_layers: int = Field(
            6, ge=1, le=20, description="The number of hidden layers of the discriminator."
        )

    options: Options

    def __init__(
        self, options: Options, hyperparameters: Hyperparameters, image_shape: ImageShape, dataset_size: int
    ) -> None:
        super().__init__(options, hyperparameters, image_shape, dataset_size)
        sizes = [options.latents, *[options.discriminator_width] * options.discriminator_layers]
        hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
        self.discriminator = nn.Sequential(*hidden, nn.Linear(sizes[-1], 2))

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return the losses of the optimisers ``model`` and ``discriminator``, from one pass over the batch."""
        forward_pass = self.run(batch.images, generator)
        real = self.discriminator(forward_pass.z)
        shuffled = self.discriminator(shuffle_latents(forward_pass.z.detach(), generator))
        total_correlation = (real[:, 0] - real[:, 1]).mean()
        is_real = torch.zeros(len(real), dtype=torch.long, device=real.device)
        cross_entropies = functional.cross_entropy(real, is_real) + functional.cross_entropy(shuffled, 1 - is_real)
        terms = {
            "reconstruction": forward_pass.reconstruction.detach(),
            **kl_terms(forward_pass),
            "total_correlation": total_correlation.detach(),
        }
        loss = forward_pass.reconstruction + forward_pass.kl.sum() + self.values["gamma"] * total_correlation
        return {"model": LossTerms(loss, terms), "discriminator": LossTerms(0.5 * cross_entropies, {})}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return Adam for encoder and decoder, and for the discriminator Adam with betas 0.5 and 0.9."""
        model = [*self.encoder.parameters(), *self.decoder.parameters()]
        discriminator_lr = self.values["discriminator_lr"]
        return {
            "model": torch.optim.Adam(model, lr=self.values["lr"], fused=True),
            "discriminator": torch.optim.Adam(
                self.discriminator.parameters(), discriminator_lr, betas=(0.5, 0.9), fused=True
            ),
        }
