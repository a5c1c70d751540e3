"""beta-TCVAE: a VAE whose total correlation is penalised (Chen et al. 2018, arXiv 1802.04942, eq. 4)."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor

from pbt_disent.config import Hyperparameter
from pbt_disent.models.contract import OBJECTIVES, hyperparameter
from pbt_disent.models.gaussian_vae import ForwardPass, GaussianVAE, log_normal, log_prior
from pbt_disent.models.total_correlation import decompose

__all__ = ["BetaTCVAE"]


@OBJECTIVES.register("betatcvae")
class BetaTCVAE(GaussianVAE):
    """Minimises -log p(x|z) + mutual information + beta * total correlation + dimension-wise KL.

    With beta = 1 this is the negative ELBO with a sampled KL. Reported parts leave out the (Z - 1) ln N nats that
    the weighted estimator adds to every total correlation, so they compare across data sets; the gradient has no
    such constant.
    """

    class Options(GaussianVAE.Options):
        """The options of a beta-TCVAE."""

        beta: Hyperparameter = hyperparameter(6, 1, 500, description="The weight of the total correlation.")
        estimator: Literal["mws", "mss"] = Field(
            "mws", description="The estimator of the total correlation: weighted (mws) or stratified (mss) sampling."
        )

    options: Options

    def penalty(self, forward_pass: ForwardPass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sampled KL plus (beta - 1) total correlation, and the parts of that KL."""
        z, mean, log_sigma = forward_pass.z, forward_pass.mean, forward_pass.log_sigma
        estimator = self.options.estimator
        parts = decompose(z, mean, log_sigma, self.dataset_size, estimator)
        if estimator == "mws":
            parts = parts.without_offset(math.log(self.dataset_size), z.shape[1])
        kl = (
            (log_normal(forward_pass.z, forward_pass.mean, forward_pass.log_sigma) - log_prior(forward_pass.z))
            .sum(1)
            .mean()
        )
        terms = {
            "mutual_information": parts.mutual_information.detach(),
            "total_correlation": parts.total_correlation.detach(),
            "dimension_kl": parts.dimension_kl.detach(),
            "elbo": -(forward_pass.reconstruction + kl).detach(),
        }
        return kl + (self.values["beta"] - 1) * parts.total_correlation, terms
