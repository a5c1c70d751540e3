"""The networks of St-RKM (Pandey et al. 2022, papers.md 2.2): three convolutions, one hidden layer, no batch norm."""

from __future__ import annotations

from torch import nn

from pbt_disent.models.networks import NETWORKS, ImageShape, Network
from pbt_disent.models.networks.to_image import ToImage

__all__ = ["rkm_decoder", "rkm_encoder"]

HIDDEN = 256


def _third(size: int) -> tuple[int, int, int]:
    """Kernel, stride and padding of the third convolution: it halves large images and trims small ones."""
    return (4, 2, 1) if size > 28 else (3, 1, 0)


def _side(size: int) -> int:
    return size // 8 if size > 28 else size // 4 - 2


def rkm_encoder(image_shape: ImageShape, outputs: int, width: int) -> nn.Module:
    """Convolutions of widths (w, 2w, 4w), 256 units: (B, C, H, W) -> (B, outputs)."""
    channels, size, _ = image_shape
    kernel, stride, padding = _third(size)
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, kernel, stride, padding),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(4 * width * _side(size) ** 2, HIDDEN),
        nn.LeakyReLU(0.2),
        nn.Linear(HIDDEN, outputs),
    )


def rkm_decoder(image_shape: ImageShape, inputs: int, width: int) -> nn.Module:
    """Mirror of the encoder: (B, inputs) -> (B, C, H, W) logits."""
    channels, size, _ = image_shape
    kernel, stride, padding = _third(size)
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN),
        nn.LeakyReLU(0.2),
        nn.Linear(HIDDEN, 4 * width * _side(size) ** 2),
        nn.LeakyReLU(0.2),
        nn.Unflatten(1, (4 * width, _side(size), _side(size))),
        nn.ConvTranspose2d(4 * width, 2 * width, kernel, stride, padding),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        ToImage(width, channels),
    )


NETWORKS.register("rkm")(Network((28, 32, 64), 64, rkm_encoder, rkm_decoder, automatic=False))
