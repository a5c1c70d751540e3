"""DIP-VAE-II: the covariance of the sampled codes is drawn to the identity (Kumar et al. 2018, arXiv 1711.00848)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.models.gaussian_vae import ForwardPass
from pbt_disent.models.objectives.dipvae1 import DIPVAE1
from pbt_disent.models.total_correlation import covariance

__all__ = ["DIPVAE2"]


@OBJECTIVES.register("dipvae2")
class DIPVAE2(DIPVAE1):
    """As DIP-VAE-I, on Cov(z) = Cov(mean) + E diag sigma^2 and with equal weights (arXiv 1711.00848, eq. 7)."""

    class Options(DIPVAE1.Options):
        """The options of a DIP-VAE-II."""

        diagonal_ratio: float = Field(
            1.0, ge=0, le=1000, description="The weight of the variances relative to that of the covariances."
        )

    options: Options

    def aggregate(self, forward_pass: ForwardPass) -> Tensor:
        """Return the covariance of the aggregate posterior, by the law of total covariance."""
        return covariance(forward_pass.mean) + torch.diag(torch.exp(2 * forward_pass.log_sigma).mean(0))
