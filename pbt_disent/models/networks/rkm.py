"""The networks of St-RKM (Pandey et al. 2022, arXiv 2006.07046): three convolutions and one hidden layer."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import nn

from pbt_disent.models.networks import NETWORKS, ImageShape, Network

__all__ = ["RKM"]

HIDDEN = 256


def _third(size: int) -> tuple[int, int, int]:
    """Kernel, stride and padding of the third convolution: it halves large images and trims small ones."""
    return (4, 2, 1) if size > 28 else (3, 1, 0)


def _side(size: int) -> int:
    return size // 8 if size > 28 else size // 4 - 2


@NETWORKS.register("rkm")
class RKM(Network):
    """Three convolutions of widths (w, 2w, 4w) with LeakyReLU and 256 hidden units; the decoder mirrors the encoder."""

    sizes: ClassVar[tuple[int, ...]] = (28, 32, 64)

    width: int = Field(64, ge=1, le=1024, description="The number of channels of the first convolution.")

    def encoder(self, image_shape: ImageShape, outputs: int) -> nn.Module:
        """Return a module (B, C, H, W) -> (B, outputs)."""
        channels, size, _ = image_shape
        width, (kernel, stride, padding) = self.width, _third(size)
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

    def decoder(self, image_shape: ImageShape, inputs: int) -> nn.Module:
        """Return a module (B, inputs) -> (B, C, H, W) that ends in logits."""
        channels, size, _ = image_shape
        width, (kernel, stride, padding) = self.width, _third(size)
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
            nn.ConvTranspose2d(width, channels, 4, 2, 1),
        )
