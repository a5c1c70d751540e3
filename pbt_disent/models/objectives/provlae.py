"""pro-VLAE: a ladder of latents that is learned level by level, deepest first (Li et al. 2020, arXiv 2002.10549)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from pbt_disent.config import Hyperparameter
from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES, Batch, LossTerms, Objective, Representation, hyperparameter
from pbt_disent.models.gaussian_vae import kl_per_latent, reparameterise
from pbt_disent.models.networks import ImageShape
from pbt_disent.models.networks.ladder import Ladder, LadderDecoder, LadderEncoder, max_levels
from pbt_disent.registry import Choice
from pbt_disent.types import Hyperparameters

__all__ = ["ProVLAE"]


@OBJECTIVES.register("provlae")
class ProVLAE(Objective):
    """Minimises -log p(x|z) + beta * KL of active levels + gamma * KL of dormant levels (arXiv 2002.10549).

    Stage s (from 0) has the s + 1 deepest levels active; the last one lasts for ever. A dormant level is encoded but
    contributes nothing to the image. The level added last is faded in, in encoder and decoder, over `fade_in` steps.

    ``schedule``: each other stage lasts `stage_steps` steps of the member's life. ``plateau``: it ends sooner, when the
    mean loss of a window of `plateau_window` steps is not lower than the lowest one of this stage by `plateau_gain`,
    relative to it. Windows that the fade-in reaches into do not count.
    """

    class Options(Objective.Options):
        """The options of pro-VLAE."""

        latents: int = Field(9, ge=1, le=512, description="The number of latents over all levels.")
        network: Annotated[Any, Choice("network", "ladder")] = Field(
            "ladder", validate_default=True, description="The encoder and decoder; the ladder is the only one."
        )
        lr: Hyperparameter = hyperparameter(5e-4, 1e-6, 1e-2, description="The learning rate.")
        beta: Hyperparameter = hyperparameter(4, 0.5, 500, description="The weight of the KL of active levels.")
        gamma: Hyperparameter = hyperparameter(
            0.5, 0.01, 10, optional=True, description="The weight of the KL of dormant levels."
        )
        stage_steps: Hyperparameter = hyperparameter(
            5000, 10, 500_000, integer=True, description="The number of steps of a stage."
        )
        levels: int = Field(3, ge=1, le=8, description="The number of levels of the ladder.")
        likelihood: Annotated[Any, Choice("likelihood", "bernoulli")] = Field(
            "bernoulli", validate_default=True, description="The distribution of a pixel."
        )
        progressive: bool = Field(
            True, description="Whether levels are added one by one; if not, all are active from the start."
        )
        growth: Literal["schedule", "plateau"] = Field("schedule", description="What ends a stage.")
        plateau_window: int = Field(200, ge=1, description="The number of steps over which the loss is averaged.")
        plateau_gain: float = Field(
            0.005, ge=0, le=1, description="The relative fall of the loss below which a stage has ended."
        )
        fade_in: int = Field(
            5000, ge=0, description="The number of steps over which a new level is faded in; 0 adds it at once."
        )

        def resolve(self, image_shape: ImageShape) -> Self:
            """Check that levels divide the latents, and that the images have room for them.

            Raises:
                UserError: They do not, they have not, or the network is no ladder.
            """
            if not isinstance(self.network, Ladder):
                rule, remedy = "must be ladder for provlae", "use objective.network=ladder"
                raise UserError(f"objective.network={self.network.name}", rule, remedy)
            levels, latents, limit = self.levels, self.latents, max_levels(image_shape)
            if levels > limit:
                rule = f"images of {'x'.join(map(str, image_shape))} have room for {limit}"
                raise UserError(f"objective.levels={levels}", rule, "use fewer levels")
            if latents % levels:
                rule = f"must be a multiple of objective.levels={levels}"
                raise UserError(f"objective.latents={latents}", rule, f"give {levels * max(1, latents // levels)}")
            return self

        @property
        def stacking_obstacle(self) -> str:
            """Replicas that watch their losses may be at different stages, and a stage is another network."""
            grows = self.progressive and self.growth == "plateau"
            return "is not for objective.growth=plateau, where each replica grows by its own loss" if grows else ""

    options: Options

    stage: Tensor
    began: Tensor
    lowest: Tensor
    window: Tensor

    def __init__(
        self, options: Options, hyperparameters: Hyperparameters, image_shape: ImageShape, dataset_size: int
    ) -> None:
        super().__init__(options, hyperparameters, image_shape, dataset_size)
        self.levels = int(options.levels)
        self.dims = int(options.latents) // self.levels
        self.encoder = LadderEncoder(image_shape, self.levels, self.dims, options.network.width)
        self.decoder = LadderDecoder(image_shape, self.levels, self.dims, options.network.width)
        self.register_buffer("stage", torch.zeros((), dtype=torch.long))
        self.register_buffer("began", torch.zeros((), dtype=torch.long))
        self.register_buffer("lowest", torch.full((), torch.inf))
        self.register_buffer("window", torch.zeros(()))
        self._growth: tuple[int, int] | None = None
        self.register_load_state_dict_post_hook(_forget_stage)  # type: ignore[no-untyped-call]

    def is_capturable(self, step: int) -> bool:
        """Return whether all levels are there at full strength; a plateau is watched to the end."""
        if not self.options.progressive:
            return True
        grown = (self.levels - 1) * int(self.values["stage_steps"]) + self.options.fade_in
        return bool(self.options.growth == "schedule" and step >= grown)

    def schedule(self, step: int) -> tuple[int, list[float]]:
        """Return the stage at a step of the member's life and the gate of each level, deepest first."""
        if not self.options.progressive:
            return self.levels - 1, [1.0] * self.levels
        length = int(self.values["stage_steps"])
        if self.options.growth == "schedule":
            stage = min(step // length, self.levels - 1)
            began = stage * length
        else:
            stage, began = self._reached()
        fade = self.options.fade_in
        newest = min(1.0, (step - began) / fade) if stage and fade else 1.0
        return stage, [1.0] * stage + [newest] + [0.0] * (self.levels - 1 - stage)

    def _reached(self) -> tuple[int, int]:
        """Return the stage and the step at which it began, which are read from the device only when they may be new."""
        if self._growth is None:
            self._growth = int(self.stage), int(self.began)
        return self._growth

    @torch.no_grad()
    def _watch(self, loss: Tensor, step: int) -> None:
        """Add the loss of a step to the window; begin the next stage where this one has come to its end."""
        stage, began = self._reached()
        into, length = step - began + 1, self.options.plateau_window
        fading = self.options.fade_in if stage else 0
        ended = into >= int(self.values["stage_steps"])
        self.window += loss.detach() / length
        if into % length == 0:
            if into - length >= fading:
                ended = ended or not bool(self.window < self.lowest * (1 - self.options.plateau_gain))
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
        grows = self.options.progressive and self.options.growth == "plateau"
        if not grows:
            self.stage.fill_(stage)
        mean, log_sigma = self.encoder(batch.images, [gate if i <= stage else 1.0 for i, gate in enumerate(gates)])
        logits = self.decoder(reparameterise(mean, log_sigma, generator), gates)
        reconstruction = self.options.likelihood.loss(logits, batch.images)
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


def _forget_stage(ladder: nn.Module, _: object) -> None:
    """Read the stage from the device again: after a checkpoint has been loaded, it may be another one."""
    assert isinstance(ladder, ProVLAE)
    ladder._growth = None
