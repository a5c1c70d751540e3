"""The same training step with pythae's `BetaTCVAE` (pypi.org/project/pythae), where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.plain_vae import PlainVAE

__all__ = ["pythae_models", "pythae_step", "why_not"]


def why_not() -> str | None:
    """Return why pythae cannot take part, or none if it can."""
    if importlib.util.find_spec("pythae") is None:
        return "pythae is not installed (pip install --no-deps pythae)"
    try:
        importlib.import_module("pythae.models")
    except Exception as error:  # another library's import may raise anything
        return f"pythae cannot be imported: {' '.join(str(error).split())}"
    return None


def pythae_models(plain: Sequence[PlainVAE], shape: tuple[int, int, int], latents: int, beta: float) -> list[nn.Module]:
    """Return pythae models around the networks of plain ones, whose weights they take."""
    models: Any = importlib.import_module("pythae.models")
    bases: Any = importlib.import_module("pythae.models.nn")
    output: Any = importlib.import_module("pythae.models.base.base_utils").ModelOutput

    def encode(self: Any, images: Tensor) -> Any:
        mean, log_sigma = self.network(images).flatten(1).chunk(2, dim=1)
        return output(embedding=mean, log_covariance=2 * log_sigma)

    def decode(self: Any, z: Tensor) -> Any:
        return output(reconstruction=torch.sigmoid(self.network(z)))

    encoder = type("Encoder", (bases.BaseEncoder,), {"forward": encode})
    decoder = type("Decoder", (bases.BaseDecoder,), {"forward": decode})
    config = models.BetaTCVAEConfig(
        input_dim=shape, latent_dim=latents, reconstruction_loss="bce", beta=beta, use_mss=False
    )
    made = []
    for one in plain:
        own = encoder(), decoder()
        own[0].network, own[1].network = one.encoder, one.decoder
        made.append(models.BetaTCVAE(config, *own).train())
    return made


def pythae_step(
    models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer], images: Tensor, dataset_size: int
) -> list[Tensor]:
    """Take one step of every model on one batch, as pythae's trainer does, and return their losses.

    The noise comes from torch's global stream.
    """
    losses = []
    for model, optimizer in zip(models, optimizers, strict=True):
        loss: Tensor = model({"data": images}, dataset_size=dataset_size).loss
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.detach())
    return losses
