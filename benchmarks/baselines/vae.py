"""The training step of k beta-TCVAEs as published code has it, and with pythae's `BetaTCVAE` where it is installed.

Networks and loss of the plain loop are those of Estermann et al. 2020 (arXiv 2010.13527); the smaller network is ours,
in the same style. The models train one after another, in float32 and torch's own layout: one Adam without fusion holds
all of them, and each has a backward pass of its own on the same batch. Pythae is at pypi.org/project/pythae.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PlainVAE", "pythae_models", "pythae_step", "reason_unavailable", "train_step", "training_loss"]

LOG_TWO_PI = math.log(2 * math.pi)


class PlainVAE(nn.Module):
    """Encoder and decoder for images of 64x64 or 32x32 pixels.

    Args:
        size: The size of the images.
        channels: The channels of the images.
        latents: The number of latents, Z.
    """

    def __init__(self, size: int, channels: int, latents: int) -> None:
        super().__init__()
        self.encoder, self.decoder = (_large if size == 64 else _small)(channels, latents)

    def encode_and_decode(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mean (B, Z), log standard deviation (B, Z), a sample (B, Z) and the logits (B, C, H, W)."""
        mean, log_sigma = self.encoder(images).flatten(1).chunk(2, dim=1)
        z = mean + log_sigma.exp() * torch.randn(mean.shape, generator=generator, device=mean.device)
        return mean, log_sigma, z, self.decoder(z)

    def copy_weights(self, parameters: Iterable[Tensor]) -> PlainVAE:
        """Copy the weights of a model with the same layers in the same order, and return this model."""
        with torch.no_grad():
            for own, other in zip(self.parameters(), parameters, strict=True):
                own.copy_(other)
        return self


def training_loss(
    model: PlainVAE, images: Tensor, beta: float, dataset_size: int, generator: torch.Generator
) -> Tensor:
    """Return the mean loss of a batch, the weighted estimator's constant (Z - 1) ln N included."""
    mean, log_sigma, z, logits = model.encode_and_decode(images, generator)
    batch = len(images)
    reconstruction = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum") / batch
    pairs = _log_density(z[:, None], mean[None], log_sigma[None])
    constant = math.log(batch * dataset_size)
    log_q = torch.logsumexp(pairs.sum(2), 1) - constant
    log_product = (torch.logsumexp(pairs, 1) - constant).sum(1)
    log_posterior = _log_density(z, mean, log_sigma).sum(1)
    log_prior = _log_density(z, torch.zeros_like(z), torch.zeros_like(z)).sum(1)
    penalty = (log_posterior - log_q) + beta * (log_q - log_product) + (log_product - log_prior)
    return reconstruction + penalty.mean()


def train_step(
    models: Sequence[PlainVAE],
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    beta: float,
    dataset_size: int,
    generators: Sequence[torch.Generator],
) -> list[Tensor]:
    """Take one step of all models on one batch and return their losses."""
    optimizer.zero_grad()
    losses = []
    for model, generator in zip(models, generators, strict=True):
        loss = training_loss(model, images, beta, dataset_size, generator)
        torch.autograd.backward(loss)
        losses.append(loss.detach())
    optimizer.step()
    return losses


def _log_density(z: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    return -0.5 * ((z - mean) ** 2 * torch.exp(-2 * log_sigma) + LOG_TWO_PI) - log_sigma


def _large(channels: int, latents: int) -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(
        *_down(channels, 32), *_down(32, 32), *_down(32, 64), *_down(64, 64),
        nn.Conv2d(64, 512, 4, bias=False), nn.BatchNorm2d(512), nn.ReLU(True), nn.Conv2d(512, 2 * latents, 1),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Unflatten(1, (latents, 1, 1)),
        nn.ConvTranspose2d(latents, 512, 1, bias=False), nn.BatchNorm2d(512), nn.ReLU(True),
        nn.ConvTranspose2d(512, 64, 4, bias=False), nn.BatchNorm2d(64), nn.ReLU(True),
        *_up(64, 64), *_up(64, 32), *_up(32, 32), nn.ConvTranspose2d(32, channels, 4, 2, 1),
    )  # fmt: skip
    return encoder, decoder


def _small(channels: int, latents: int) -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(
        *_down(channels, 16), *_down(16, 32), *_down(32, 32), nn.Flatten(), nn.Linear(512, 2 * latents)
    )
    decoder = nn.Sequential(
        nn.Linear(latents, 512, bias=False), nn.Unflatten(1, (32, 4, 4)), nn.BatchNorm2d(32), nn.ReLU(True),
        *_up(32, 32), *_up(32, 16), nn.ConvTranspose2d(16, channels, 4, 2, 1),
    )  # fmt: skip
    return encoder, decoder


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]


def reason_unavailable() -> str | None:
    """Return why pythae cannot be used, or None if it can."""
    if importlib.util.find_spec("pythae") is None:
        return "pythae is not installed (pip install --no-deps pythae)"
    try:
        importlib.import_module("pythae.models")
    except Exception as error:  # another library's import may raise anything
        return f"pythae cannot be imported: {' '.join(str(error).split())}"
    return None


def pythae_models(plain: Sequence[PlainVAE], shape: tuple[int, int, int], latents: int, beta: float) -> list[nn.Module]:
    """Return pythae models around the networks of plain ones, whose weights they share."""
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
    wrapped = []
    for model in plain:
        parts = encoder(), decoder()
        parts[0].network, parts[1].network = model.encoder, model.decoder
        wrapped.append(models.BetaTCVAE(config, *parts).train())
    return wrapped


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
