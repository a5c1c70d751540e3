"""Ada-GVAE: weak supervision by pairs of images that share factors (Locatello et al. 2020, arXiv 2002.02886)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pbt_disent.config import Hyperparameter
from pbt_disent.models.contract import OBJECTIVES, Batch, LossTerms, hyperparameter
from pbt_disent.models.gaussian_vae import ForwardPass, GaussianVAE, kl_per_latent, kl_terms, reparameterise

__all__ = ["AdaGVAE", "kl_between", "share"]


def kl_between(mean: Tensor, log_sigma: Tensor, other_mean: Tensor, other_log_sigma: Tensor) -> Tensor:
    """Return KL(N(mean, sigma^2) || N(other mean, other sigma^2)) in nats, element by element."""
    spread = torch.exp(2 * (log_sigma - other_log_sigma))
    distance = (mean - other_mean) * torch.exp(-other_log_sigma)
    return 0.5 * (spread + distance * distance - 1) + other_log_sigma - log_sigma


def share(mean: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Average the posteriors of the two images of each pair in the latents that they are taken to share.

    Those are the latents whose KL lies below the middle between the pair's smallest and largest (arXiv 2002.02886,
    section 4). Means and variances are averaged.

    Args:
        mean: The posterior means, (2B, Z), those of the first images of all pairs first.
        log_sigma: The logarithms of the posterior standard deviations, (2B, Z), in the same order.

    Returns:
        The averaged means (2B, Z) and log standard deviations (2B, Z), and which latents are shared (B, Z).
    """
    (first, second), (log_first, log_second) = mean.chunk(2), log_sigma.chunk(2)
    divergence = kl_between(first, log_first, second, log_second).detach()
    threshold = 0.5 * (divergence.amin(1, keepdim=True) + divergence.amax(1, keepdim=True))
    shared = divergence < threshold
    common = 0.5 * (first + second)
    log_common = 0.5 * (torch.logaddexp(2 * log_first, 2 * log_second) - torch.log(torch.full_like(log_first, 2)))
    both = torch.cat([shared, shared])
    joint_mean = torch.where(both, torch.cat([common, common]), mean)
    joint_log_sigma = torch.where(both, torch.cat([log_common, log_common]), log_sigma)
    return joint_mean, joint_log_sigma, shared


@OBJECTIVES.register("adagvae")
class AdaGVAE(GaussianVAE):
    """Minimises the beta-VAE loss of both images of a pair, after their shared latents have been averaged."""

    class Options(GaussianVAE.Options):
        """The options of an Ada-GVAE."""

        needs: ClassVar[frozenset[str]] = frozenset({"partner"})

        beta: Hyperparameter = hyperparameter(1, 0.5, 500, description="The weight of the KL divergence.")

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return the mean loss over both images of each pair, and how many latents they share on average."""
        if batch.partner is None:
            raise ValueError("adagvae needs a partner for each image")
        images = torch.cat([batch.images, batch.partner])
        mean, log_sigma, shared = share(*self.posterior(images))
        z = reparameterise(mean, log_sigma, generator)
        reconstruction = self.options.likelihood.loss(self.decoder(z), images)
        forward_pass = ForwardPass(mean, log_sigma, z, reconstruction, kl_per_latent(mean, log_sigma).mean(0))
        penalty, terms = self.penalty(forward_pass, step)
        terms |= {"reconstruction": reconstruction.detach(), "shared": shared.sum(1, dtype=z.dtype).mean()}
        return {"model": LossTerms(reconstruction + penalty, terms)}

    def penalty(self, forward_pass: ForwardPass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted KL."""
        return self.values["beta"] * forward_pass.kl.sum(), kl_terms(forward_pass)
