"""DIP-VAE-II: the covariance of the sampled codes is drawn to the identity (Kumar et al. 2018)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.models.covariance import covariance
from pbt_disent.models.gaussian_vae import Pass
from pbt_disent.models.objectives.dipvae1 import DIPVAE1
from pbt_disent.models.settings import Setting

__all__ = ["DIPVAE2"]


@OBJECTIVES.register("dipvae2")
class DIPVAE2(DIPVAE1):
    """As DIP-VAE-I, on Cov(z) = Cov(mean) + E diag sigma^2, with equal weights."""

    settings: ClassVar[dict[str, Setting]] = {
        **DIPVAE1.settings,
        "diagonal_ratio": Setting(1.0, "weight of the variances relative to the covariances", low=0, high=1000),
    }

    def aggregate(self, passed: Pass) -> Tensor:
        """Return the covariance of the aggregate posterior, by the law of total covariance."""
        return covariance(passed.mean) + torch.diag(torch.exp(2 * passed.log_sigma).mean(0))
