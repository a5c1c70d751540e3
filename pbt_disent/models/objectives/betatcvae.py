"""beta-TCVAE: a VAE whose total correlation is penalised (Chen et al. 2018; Estermann et al. 2020, papers.md 4.2)."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from pbt_disent.config import Mutable
from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.models.gaussian import log_normal, log_prior
from pbt_disent.models.gaussian_vae import GaussianVAE, Pass
from pbt_disent.models.settings import Setting
from pbt_disent.models.total_correlation import ESTIMATORS, decompose

__all__ = ["BetaTCVAE"]


@OBJECTIVES.register("betatcvae")
class BetaTCVAE(GaussianVAE):
    """Minimises -log p(x|z) + mutual information + beta * total correlation + dimension-wise KL.

    With beta = 1 this is the negative ELBO with a sampled KL. Reported parts leave out the (Z - 1) ln N nats that
    the weighted estimator adds to every total correlation, so they compare across data sets; the gradient has no
    such constant.
    """

    hyperparameters: ClassVar[dict[str, Mutable]] = {
        **GaussianVAE.hyperparameters,
        "beta": Mutable(default=6, low=1, high=500, log=True),
    }
    settings: ClassVar[dict[str, Setting]] = {
        **GaussianVAE.settings,
        "estimator": Setting("mws", "of the total correlation: weighted or stratified", choices=ESTIMATORS),
    }

    def penalty(self, passed: Pass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sampled KL plus (beta - 1) total correlation, and the parts of that KL."""
        latents = passed.z.shape[1]
        estimator = self.options["estimator"]
        parts = decompose(passed.z, passed.mean, passed.log_sigma, self.dataset_size, estimator)
        if estimator == "mws":
            parts = parts.without_offset(math.log(self.dataset_size), latents)
        kl = (log_normal(passed.z, passed.mean, passed.log_sigma) - log_prior(passed.z)).sum(1).mean()
        terms = {
            "mutual_information": parts.mutual_information.detach(),
            "total_correlation": parts.total_correlation.detach(),
            "dimension_kl": parts.dimension_kl.detach(),
            "elbo": -(passed.reconstruction + kl).detach(),
        }
        return kl + (self.values["beta"] - 1) * parts.total_correlation, terms
