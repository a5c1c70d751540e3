"""Convolutional networks: small ones for 16x16, 28x28 and 32x32, the paper's for 64x64, and one stage more for 128x128.

The 64x64 network is that of Estermann et al. 2020 (papers.md 4.2). Every convolution but the last is followed by
batch norm, which has a bias of its own, and ReLU.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from pbt_disent.models.networks import NETWORKS, ImageShape, Network
from pbt_disent.models.networks.one_pixel import FromPixel, ToPixel
from pbt_disent.models.networks.to_image import ToImage

__all__ = ["paper_network", "small_network"]


def _norm(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _down(widths: list[int]) -> list[nn.Module]:
    """Halve the image once for each pair of neighbouring widths: (B, widths[0], H, W) to (B, widths[-1], h, w)."""
    return [layer for a, b in pairwise(widths) for layer in (nn.Conv2d(a, b, 4, 2, 1, bias=False), *_norm(b))]


def _up(widths: list[int]) -> list[nn.Module]:
    """Double the image once for each pair of neighbouring widths; the last layer gives logits."""
    hidden = [
        layer for a, b in pairwise(widths[:-1]) for layer in (nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), *_norm(b))
    ]
    return [*hidden, ToImage(widths[-2], widths[-1])]


def small_network(size: int, multiples: tuple[int, ...], width: int) -> Network:
    """Return a network of stride-2 4x4 convolutions and one linear layer.

    Args:
        size: of the square images.
        multiples: width of each convolution, as a multiple of the first.
        width: default width of the first.
    """
    side = size >> len(multiples)

    def encoder(image_shape: ImageShape, outputs: int, width: int) -> nn.Module:
        widths = [image_shape[0], *[multiple * width for multiple in multiples]]
        return nn.Sequential(*_down(widths), nn.Flatten(), nn.Linear(widths[-1] * side**2, outputs))

    def decoder(image_shape: ImageShape, inputs: int, width: int) -> nn.Module:
        widths = [*[multiple * width for multiple in reversed(multiples)], image_shape[0]]
        return nn.Sequential(
            nn.Linear(inputs, widths[0] * side**2, bias=False),
            nn.Unflatten(1, (widths[0], side, side)),
            *_norm(widths[0]),
            *_up(widths),
        )

    return Network((size,), width, encoder, decoder)


def paper_network(size: int, multiples: tuple[int, ...], width: int) -> Network:
    """Return a network of stride-2 4x4 convolutions down to 4x4, a 4x4 one to 16 widths, and a 1x1 one.

    Args:
        size: of the square images.
        multiples: width of each strided convolution, as a multiple of the first.
        width: default width of the first.
    """

    def encoder(image_shape: ImageShape, outputs: int, width: int) -> nn.Module:
        widths = [image_shape[0], *[multiple * width for multiple in multiples]]
        return nn.Sequential(
            *_down(widths),
            ToPixel(widths[-1], 16 * width, 4, bias=False),
            *_norm(16 * width),
            ToPixel(16 * width, outputs, 1),
            nn.Flatten(),
        )

    def decoder(image_shape: ImageShape, inputs: int, width: int) -> nn.Module:
        widths = [*[multiple * width for multiple in reversed(multiples)], image_shape[0]]
        return nn.Sequential(
            nn.Unflatten(1, (inputs, 1, 1)),
            FromPixel(inputs, 16 * width, 1),
            *_norm(16 * width),
            FromPixel(16 * width, widths[0], 4),
            *_norm(widths[0]),
            *_up(widths),
        )

    return Network((size,), width, encoder, decoder)


NETWORKS.register("conv16")(small_network(16, (1, 2), 16))
NETWORKS.register("conv28")(small_network(28, (1, 2), 16))
NETWORKS.register("conv32")(small_network(32, (1, 2, 2), 16))
NETWORKS.register("conv64")(paper_network(64, (1, 1, 2, 2), 32))
NETWORKS.register("conv128")(paper_network(128, (1, 1, 2, 2, 2), 32))
