"""DIP-VAE-I: the covariance of the posterior means is drawn to the identity (Kumar et al. 2018, arXiv 1711.00848)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from pbt_disent.config import Hyperparameter
from pbt_disent.models.contract import OBJECTIVES, hyperparameter
from pbt_disent.models.gaussian_vae import ForwardPass, GaussianVAE, kl_terms
from pbt_disent.models.total_correlation import covariance, moment_penalty

__all__ = ["DIPVAE1"]


@OBJECTIVES.register("dipvae1")
class DIPVAE1(GaussianVAE):
    """Minimises -log p(x|z) + KL + lambda_od * (squared covariances) + ratio * lambda_od * (variances - 1)^2.

    Covariances and variances are those of the posterior means (arXiv 1711.00848, eq. 6); `diagonal_ratio` is the ratio.
    """

    class Options(GaussianVAE.Options):
        """The options of a DIP-VAE-I."""

        lambda_od: Hyperparameter = hyperparameter(
            5, 0.1, 500, optional=True, description="The weight of the squared covariances."
        )
        diagonal_ratio: float = Field(
            10.0, ge=0, le=1000, description="The weight of the variances relative to that of the covariances."
        )

    options: Options

    def aggregate(self, forward_pass: ForwardPass) -> Tensor:
        """Return the (Z, Z) covariance that is drawn to the identity."""
        return covariance(forward_pass.mean)

    def penalty(self, forward_pass: ForwardPass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the KL plus the penalty of the moments."""
        weight = self.values["lambda_od"]
        moments = moment_penalty(self.aggregate(forward_pass), weight, weight * self.options.diagonal_ratio)
        return forward_pass.kl.sum() + moments, {**kl_terms(forward_pass), "moments": moments.detach()}
