"""beta-VAE: a VAE whose whole KL is weighted (Higgins et al. 2017, https://openreview.net/forum?id=Sy2fzU9gl)."""

from __future__ import annotations

from torch import Tensor

from pbt_disent.config import Hyperparameter
from pbt_disent.models.contract import OBJECTIVES, hyperparameter
from pbt_disent.models.gaussian_vae import ForwardPass, GaussianVAE, kl_terms

__all__ = ["BetaVAE"]


@OBJECTIVES.register("betavae")
class BetaVAE(GaussianVAE):
    """Minimises -log p(x|z) + beta * KL(q(z|x) || p(z)) (eq. 4 of the paper); beta = 1 is the VAE."""

    class Options(GaussianVAE.Options):
        """The options of a beta-VAE."""

        beta: Hyperparameter = hyperparameter(4, 1, 500, description="The weight of the KL divergence.")

    def penalty(self, forward_pass: ForwardPass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted KL."""
        return self.values["beta"] * forward_pass.kl.sum(), kl_terms(forward_pass)
