"""RTC-VAE: beta-TCVAE that also makes the total correlation of the *mean* representation small.

The idea is that of Cheng et al. 2020 (arXiv 2009.05739): a small total correlation of sampled codes does not bound that
of their means, because posterior noise hides dependence. For Gaussians TC(z) <= 1/2 sum_j ln(1 + Var(mean_j) /
E sigma_j^2), whatever the means. The paper's own penalty is not public; three readings of it are offered. That latents
which carry nothing are correlated in their means at no cost is shown in Bonheme and Grzes 2021 (arXiv 2109.12679).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from pbt_disent.config import Hyperparameter
from pbt_disent.models.contract import OBJECTIVES, hyperparameter
from pbt_disent.models.gaussian_vae import ForwardPass
from pbt_disent.models.objectives.betatcvae import BetaTCVAE
from pbt_disent.models.total_correlation import active_mask, covariance, total_correlation_of_covariance

__all__ = ["RTCVAE"]


@OBJECTIVES.register("rtcvae")
class RTCVAE(BetaTCVAE):
    """Adds eta times one of three penalties to beta-TCVAE; eta = 0 is beta-TCVAE.

    ``variance``: the posterior variances, which hide the dependence. ``direct``: the Gaussian total correlation of the
    means. ``ratio``: ln(1 + posterior variance / variance of the means), which has no scale. Each is taken over latents
    whose means vary by at least `active_variance` in the batch, because passive latents are correlated at no cost.
    """

    class Options(BetaTCVAE.Options):
        """The options of an RTC-VAE."""

        eta: Hyperparameter = hyperparameter(
            1, 0.01, 100, optional=True, description="The weight of the penalty on the mean representation."
        )
        variant: Literal["variance", "direct", "ratio"] = Field("direct", description="What that penalty measures.")
        active_variance: float = Field(
            0.01, ge=0, le=1, description="The variance of a latent's means above which the latent counts."
        )

    options: Options

    def rectification(self, mean: Tensor, log_sigma: Tensor) -> Tensor:
        """Return the penalty on the mean representation before its weight, a scalar.

        Args:
            mean: The posterior means, (B, Z).
            log_sigma: The logarithms of the posterior standard deviations, (B, Z).
        """
        active = active_mask(mean, self.options.active_variance)
        matrix = covariance(mean)
        if self.options.variant == "direct":
            return total_correlation_of_covariance(matrix, active)
        variances = torch.exp(2 * log_sigma).mean(0)
        if self.options.variant == "ratio":
            spread = matrix.diagonal().detach().clamp_min(torch.finfo(mean.dtype).tiny)
            variances = torch.log1p(variances / spread)
        return torch.where(active, variances, 0.0).sum()

    def penalty(self, forward_pass: ForwardPass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return beta-TCVAE's penalty plus the weighted rectification; total correlation of the means is reported."""
        penalty, terms = super().penalty(forward_pass, step)
        with torch.no_grad():
            active = active_mask(forward_pass.mean, self.options.active_variance)
            terms["mean_total_correlation"] = total_correlation_of_covariance(covariance(forward_pass.mean), active)
        if self.values["eta"] == 0:
            return penalty, terms
        extra = self.rectification(forward_pass.mean, forward_pass.log_sigma)
        return penalty + self.values["eta"] * extra, {**terms, "rectification": extra.detach()}
