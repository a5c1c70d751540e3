"""Annealed beta-VAE: the KL is held near a capacity that grows (Burgess et al. 2018, arXiv 1804.03599)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from pbt_disent.config import Hyperparameter
from pbt_disent.models.contract import OBJECTIVES, hyperparameter
from pbt_disent.models.gaussian_vae import ForwardPass, GaussianVAE, kl_terms

__all__ = ["AnnealedVAE"]


@OBJECTIVES.register("annealed")
class AnnealedVAE(GaussianVAE):
    """Minimises -log p(x|z) + gamma * |KL - C(step)|, where C grows to `capacity` nats (arXiv 1804.03599, eq. 8)."""

    class Options(GaussianVAE.Options):
        """The options of an annealed beta-VAE."""

        gamma: Hyperparameter = hyperparameter(
            1000, 1, 10_000, optional=True, description="The weight of the distance between the KL and its capacity."
        )
        capacity: Hyperparameter = hyperparameter(25, 1, 100, description="The final capacity in nats.")
        annealing_steps: int = Field(
            100_000, ge=1, description="The number of steps until the capacity has grown to its full size."
        )

    options: Options

    def capacity(self, step: int) -> float:
        """Return C at a step of the member's life, in nats."""
        share = min(1.0, step / float(self.options.annealing_steps))
        return self.values["capacity"] * share

    def is_capturable(self, step: int) -> bool:
        """Return whether the capacity has grown to its full size."""
        return step >= int(self.options.annealing_steps)

    def penalty(self, forward_pass: ForwardPass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted distance of the KL from the capacity."""
        capacity = self.capacity(step)
        terms = {**kl_terms(forward_pass), "capacity": forward_pass.kl.new_full((), capacity)}
        return self.values["gamma"] * (forward_pass.kl.sum() - capacity).abs(), terms
