"""Annealed beta-VAE: the KL is held near a capacity that grows (Burgess et al. 2018)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from pbt_disent.config import Mutable
from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.models.gaussian_vae import GaussianVAE, Pass, kl_terms
from pbt_disent.models.settings import Setting

__all__ = ["AnnealedVAE"]


@OBJECTIVES.register("annealed")
class AnnealedVAE(GaussianVAE):
    """Minimises -log p(x|z) + gamma * |KL - C(step)|, where C grows from 0 to `capacity` nats and stays there."""

    hyperparameters: ClassVar[dict[str, Mutable]] = {
        **GaussianVAE.hyperparameters,
        "gamma": Mutable(default=1000, low=1, high=10_000, log=True),
        "capacity": Mutable(default=25, low=1, high=100, log=True),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"gamma"})
    settings: ClassVar[dict[str, Setting]] = {
        **GaussianVAE.settings,
        "annealing_steps": Setting(100_000, "steps until the capacity has grown to its full size", low=1),
    }

    def capacity(self, step: int) -> float:
        """Return C at a step of the member's life, in nats."""
        grown = min(1.0, step / float(self.options["annealing_steps"]))
        return self.values["capacity"] * grown

    def steady(self, step: int) -> bool:
        """Return whether the capacity has grown to its full size."""
        return step >= int(self.options["annealing_steps"])

    def penalty(self, passed: Pass, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted distance of the KL from the capacity."""
        capacity = self.capacity(step)
        terms = {**kl_terms(passed), "capacity": passed.kl.new_full((), capacity)}
        return self.values["gamma"] * (passed.kl.sum() - capacity).abs(), terms
