"""DIP-VAE-I: the covariance of the posterior means is drawn to the identity (Kumar et al. 2018)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from pbt_disent.config import Mutable
from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.models.covariance import covariance, moment_penalty
from pbt_disent.models.gaussian_vae import GaussianVAE, Pass, kl_terms
from pbt_disent.models.settings import Setting

__all__ = ["DIPVAE1"]


@OBJECTIVES.register("dipvae1")
class DIPVAE1(GaussianVAE):
    """Minimises -log p(x|z) + KL + lambda_od * (squared covariances) + ratio * lambda_od * (variances - 1)^2."""

    hyperparameters: ClassVar[dict[str, Mutable]] = {
        **GaussianVAE.hyperparameters,
        "lambda_od": Mutable(default=5, low=0.1, high=500, log=True),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"lambda_od"})
    settings: ClassVar[dict[str, Setting]] = {
        **GaussianVAE.settings,
        "diagonal_ratio": Setting(10.0, "weight of the variances relative to the covariances", low=0, high=1000),
    }

    def aggregate(self, passed: Pass) -> Tensor:
        """Return the (Z, Z) covariance that is drawn to the identity."""
        return covariance(passed.mean)

    def penalty(self, passed: Pass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the KL plus the penalty of the moments."""
        weight = self.values["lambda_od"]
        moments = moment_penalty(self.aggregate(passed), weight, weight * self.options["diagonal_ratio"])
        return passed.kl.sum() + moments, {**kl_terms(passed), "moments": moments.detach()}
