"""pro-VLAE: a ladder of latents that is learned level by level, from the deepest up (Li et al. 2020, papers.md 1)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from pbt_disent.config import Mutable
from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES, Batch, LossTerms, Objective, Representation
from pbt_disent.models.gaussian import kl_per_latent, reparameterise
from pbt_disent.models.ladder import LadderDecoder, LadderEncoder, most_levels
from pbt_disent.models.likelihoods import LIKELIHOODS, negative_log_likelihood
from pbt_disent.models.networks import ImageShape
from pbt_disent.models.settings import Setting
from pbt_disent.types import Hyperparameters, Json

__all__ = ["ProVLAE"]


@OBJECTIVES.register("provlae")
class ProVLAE(Objective):
    """Minimises -log p(x|z) + beta * KL of active levels + gamma * KL of dormant levels.

    Stage s (from 0) has the s + 1 deepest levels active; the last one lasts for ever. A dormant level is encoded but
    contributes nothing to the image. The level added last is faded in, in encoder and decoder, over `fade_in` steps.

    ``schedule``: each other stage lasts `stage_steps` steps of the member's life. ``plateau``: it ends sooner, when the
    mean loss of a window of `plateau_window` steps is not lower than the lowest one of this stage by `plateau_gain`,
    relative to it. Windows that the fade-in reaches into do not count.
    """

    hyperparameters: ClassVar[dict[str, Mutable]] = {
        "lr": Mutable(default=5e-4, low=1e-6, high=1e-2, log=True),
        "beta": Mutable(default=4, low=0.5, high=500, log=True),
        "gamma": Mutable(default=0.5, low=0.01, high=10, log=True),
        "stage_steps": Mutable(default=5000, low=10, high=500_000, log=True, integer=True),
        "batch_size": Mutable(default=128, low=16, high=1024, log=True, integer=True),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"gamma"})
    settings: ClassVar[dict[str, Setting]] = {
        "latents": Setting(9, "number of latents over all levels", low=1, high=512),
        "levels": Setting(3, "levels of the ladder", low=1, high=8),
        "network": Setting("ladder", "the ladder is its own network", choices=("ladder",)),
        "network_width": Setting(None, "channels of every layer; default 32", low=1, high=1024),
        "likelihood": Setting("bernoulli", "model of a pixel", choices=tuple(LIKELIHOODS)),
        "progressive": Setting(True, "whether levels are added one by one; if not, all are active from the start"),
        "growth": Setting("schedule", "what ends a stage", choices=("schedule", "plateau")),
        "plateau_window": Setting(200, "steps over which the loss is averaged", low=1),
        "plateau_gain": Setting(0.005, "relative fall of the loss below which a stage has ended", low=0, high=1),
        "fade_in": Setting(5000, "steps over which a new level is faded in; 0 switches it on at once", low=0),
    }

    stage: Tensor
    began: Tensor
    lowest: Tensor
    window: Tensor

    def __init__(
        self, settings: Json, hyperparameters: Hyperparameters, image_shape: ImageShape, dataset_size: int
    ) -> None:
        super().__init__(settings, hyperparameters, image_shape, dataset_size)
        self.levels = int(settings["levels"])
        self.dims = int(settings["latents"]) // self.levels
        self.encoder = LadderEncoder(image_shape, self.levels, self.dims, settings["network_width"])
        self.decoder = LadderDecoder(image_shape, self.levels, self.dims, settings["network_width"])
        self.register_buffer("stage", torch.zeros((), dtype=torch.long))
        self.register_buffer("began", torch.zeros((), dtype=torch.long))
        self.register_buffer("lowest", torch.full((), torch.inf))
        self.register_buffer("window", torch.zeros(()))
        self._growth: tuple[int, int] | None = None
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @classmethod
    def complete(cls, settings: Json, image_shape: ImageShape) -> Json:
        """Fill in the width; levels must divide the latents, and the image must have room for them.

        Raises:
            UserError: they do not, or it has not.
        """
        levels, latents, most = settings["levels"], settings["latents"], most_levels(image_shape)
        if levels > most:
            shape = "x".join(map(str, image_shape))
            raise UserError(f"objective.levels={levels}", f"images of {shape} have room for {most}", "use fewer levels")
        if latents % levels:
            remedy = f"give {levels * max(1, latents // levels)}"
            raise UserError(f"objective.latents={latents}", f"must be a multiple of objective.levels={levels}", remedy)
        return {**settings, "network_width": settings["network_width"] or 32}

    @classmethod
    def loop_only(cls, settings: Json) -> str:
        """Replicas that watch their losses may be at different stages, and a stage is another network."""
        grows = settings["progressive"] and settings["growth"] == "plateau"
        return "is not for objective.growth=plateau, where each replica grows by its own loss" if grows else ""

    def steady(self, step: int) -> bool:
        """Return whether all levels are there at full strength; a plateau is watched to the end."""
        if not self.options["progressive"]:
            return True
        grown = (self.levels - 1) * int(self.values["stage_steps"]) + self.options["fade_in"]
        return bool(self.options["growth"] == "schedule" and step >= grown)

    def schedule(self, step: int) -> tuple[int, list[float]]:
        """Return the stage at a step of the member's life and the gate of each level, deepest first."""
        if not self.options["progressive"]:
            return self.levels - 1, [1.0] * self.levels
        length = int(self.values["stage_steps"])
        if self.options["growth"] == "schedule":
            stage = min(step // length, self.levels - 1)
            began = stage * length
        else:
            stage, began = self._reached()
        fade = self.options["fade_in"]
        newest = min(1.0, (step - began) / fade) if stage and fade else 1.0
        return stage, [1.0] * stage + [newest] + [0.0] * (self.levels - 1 - stage)

    def _reached(self) -> tuple[int, int]:
        """Return the stage and the step at which it began, which are read from the device only when they may be new."""
        if self._growth is None:
            self._growth = int(self.stage), int(self.began)
        return self._growth

    @torch.no_grad()
    def _watch(self, loss: Tensor, step: int) -> None:
        """Take in the loss of a step; begin the next stage where this one has come to its end."""
        stage, began = self._reached()
        into, length = step - began + 1, self.options["plateau_window"]
        fading = self.options["fade_in"] if stage else 0
        ended = into >= int(self.values["stage_steps"])
        self.window += loss.detach() / length
        if into % length == 0:
            if into - length >= fading:
                ended = ended or not bool(self.window < self.lowest * (1 - self.options["plateau_gain"]))
                self.lowest.copy_(torch.minimum(self.lowest, self.window))
            self.window.zero_()
        if ended and stage < self.levels - 1:
            self._growth = None
            self.stage += 1
            self.began.fill_(step + 1)
            self.lowest.fill_(torch.inf)
            self.window.zero_()

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return the loss of this step's stage, for the one optimiser ``model``."""
        stage, gates = self.schedule(step)
        grows = self.options["progressive"] and self.options["growth"] == "plateau"
        if not grows:
            self.stage.fill_(stage)
        mean, log_sigma = self.encoder(batch.images, [gate if i <= stage else 1.0 for i, gate in enumerate(gates)])
        logits = self.decoder(reparameterise(mean, log_sigma, generator), gates)
        reconstruction = negative_log_likelihood(self.options["likelihood"], logits, batch.images)
        kl = kl_per_latent(mean, log_sigma).mean(0).view(self.levels, self.dims).sum(1)
        active, dormant = kl[: stage + 1].sum(), kl[stage + 1 :].sum()
        loss = reconstruction + self.values["beta"] * active + self.values["gamma"] * dormant
        terms = {
            "reconstruction": reconstruction.detach(),
            "kl": active.detach(),
            "dormant_kl": dormant.detach(),
            "elbo": -(reconstruction + active).detach(),
            "stage": reconstruction.new_full((), float(stage)),
        }
        if grows:
            self._watch(loss, step)
        return {"model": LossTerms(loss, terms)}

    def represent(self, images: Tensor) -> Representation:
        """Encode (B, C, H, W) images in 0 to 1, with every level at full strength; information is the true KL."""
        mean, log_sigma = self.encoder(images, [1.0] * self.levels)
        return Representation(mean, log_sigma, kl_per_latent(mean, log_sigma).mean(0))

    def decode(self, codes: Tensor) -> Tensor:
        """Decode (B, Z) codes to (B, C, H, W) images in 0 to 1, with the levels that are active by now."""
        stage = int(self.stage)
        return torch.sigmoid(self.decoder(codes, [float(level <= stage) for level in range(self.levels)]))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return one Adam over everything."""
        return {"model": torch.optim.Adam(self.parameters(), lr=self.values["lr"], fused=True)}


def _forget(ladder: nn.Module, _: object) -> None:
    """After a checkpoint has been read, another stage may have been reached."""
    assert isinstance(ladder, ProVLAE)
    ladder._growth = None
