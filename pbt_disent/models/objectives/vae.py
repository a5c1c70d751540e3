"""The variational auto-encoder (Kingma and Welling 2014, arXiv 1312.6114): the baseline of all others."""

from __future__ import annotations

from torch import Tensor

from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.models.gaussian_vae import ForwardPass, GaussianVAE, kl_terms

__all__ = ["VAE"]


@OBJECTIVES.register("vae")
class VAE(GaussianVAE):
    """Minimises -log p(x|z) + KL(q(z|x) || p(z)), the KL in closed form."""

    class Options(GaussianVAE.Options):
        """The options of a VAE."""

    def penalty(self, forward_pass: ForwardPass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the KL."""
        return forward_pass.kl.sum(), kl_terms(forward_pass)
