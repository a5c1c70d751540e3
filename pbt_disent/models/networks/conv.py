"""Convolutional networks: small ones for 16x16, 28x28 and 32x32, the paper's for 64x64, and one stage more for 128x128.

The 64x64 network is that of Estermann et al. 2020 (arXiv 2010.13527, appendix). Every convolution but the last is
followed by batch norm, which has a bias of its own, and ReLU.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from pbt_disent.models.networks import NETWORKS, ImageShape, Network

__all__ = ["FromPixel", "PaperConvolutions", "SmallConvolutions", "ToPixel"]


class ToPixel(nn.Conv2d):
    """Convolution whose kernel covers the map: (B, channels, side, side) -> (B, out, 1, 1), as a matrix product.

    With torch's own convolutions in the place of this layer and of `FromPixel` a training step of a beta-TCVAE at 64x64
    takes 1.19 (one model) and 1.23 times (five models) as long, on one thread of a CPU, in batches of 64.

    Args:
        channels: The number of channels of the map.
        out: The number of channels of the pixel.
        side: The height and width of the map.
        bias: Whether a bias is added.
    """

    def __init__(self, channels: int, out: int, side: int, *, bias: bool = True) -> None:
        super().__init__(channels, out, side, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return the pixel, (B, out, 1, 1)."""
        pixel = _rows(features) @ _rows(self.weight).mT
        return (pixel if self.bias is None else pixel + self.bias)[:, :, None, None]


class FromPixel(nn.ConvTranspose2d):
    """Transposed convolution of a pixel: (B, channels, 1, 1) -> (B, out, side, side), a matrix product; see `ToPixel`.

    Args:
        channels: The number of channels of the pixel.
        out: The number of channels of the map.
        side: The height and width of the map.
    """

    def __init__(self, channels: int, out: int, side: int) -> None:
        super().__init__(channels, out, side, bias=False)

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the map, (B, out, side, side), in channels-last memory."""
        pixels = features.flatten(1) @ _rows(self.weight)
        return pixels.view(-1, *self.kernel_size, self.out_channels).movedim(-1, 1)


def _rows(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W * C)."""
    return maps.movedim(1, -1).flatten(1)


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
    return [*hidden, nn.ConvTranspose2d(widths[-2], widths[-1], 4, 2, 1)]


class _Convolutions(Network):
    automatic: ClassVar[bool] = True
    multiples: ClassVar[tuple[int, ...]]
    """The width of each strided convolution, as a multiple of the first."""

    def _widths(self, channels: int) -> list[int]:
        assert self.width is not None
        return [channels, *[multiple * self.width for multiple in self.multiples]]


class SmallConvolutions(_Convolutions):
    """4x4 convolutions of stride 2 and one linear layer."""

    width: int = Field(16, ge=1, le=1024, description="The number of channels of the first convolution.")

    def encoder(self, image_shape: ImageShape, outputs: int) -> nn.Module:
        """Return a module (B, C, H, W) -> (B, outputs)."""
        channels, size, _ = image_shape
        widths, side = self._widths(channels), size >> len(self.multiples)
        return nn.Sequential(*_down(widths), nn.Flatten(), nn.Linear(widths[-1] * side**2, outputs))

    def decoder(self, image_shape: ImageShape, inputs: int) -> nn.Module:
        """Return a module (B, inputs) -> (B, C, H, W) that ends in logits."""
        channels, size, _ = image_shape
        widths, side = self._widths(channels)[::-1], size >> len(self.multiples)
        return nn.Sequential(
            nn.Linear(inputs, widths[0] * side**2, bias=False),
            nn.Unflatten(1, (widths[0], side, side)),
            *_norm(widths[0]),
            *_up(widths),
        )


class PaperConvolutions(_Convolutions):
    """4x4 convolutions of stride 2 down to 4x4 pixels, a 4x4 one to 16 widths, and a 1x1 one."""

    width: int = Field(32, ge=1, le=1024, description="The number of channels of the first convolution.")

    def encoder(self, image_shape: ImageShape, outputs: int) -> nn.Module:
        """Return a module (B, C, H, W) -> (B, outputs)."""
        widths = self._widths(image_shape[0])
        return nn.Sequential(
            *_down(widths),
            ToPixel(widths[-1], 16 * self.width, 4, bias=False),
            *_norm(16 * self.width),
            ToPixel(16 * self.width, outputs, 1),
            nn.Flatten(),
        )

    def decoder(self, image_shape: ImageShape, inputs: int) -> nn.Module:
        """Return a module (B, inputs) -> (B, C, H, W) that ends in logits."""
        widths = self._widths(image_shape[0])[::-1]
        return nn.Sequential(
            nn.Unflatten(1, (inputs, 1, 1)),
            FromPixel(inputs, 16 * self.width, 1),
            *_norm(16 * self.width),
            FromPixel(16 * self.width, widths[0], 4),
            *_norm(widths[0]),
            *_up(widths),
        )


@NETWORKS.register("conv16")
class Conv16(SmallConvolutions):
    """Two 4x4 convolutions of stride 2 and one linear layer, for 16x16 images."""

    sizes: ClassVar[tuple[int, ...]] = (16,)
    multiples: ClassVar[tuple[int, ...]] = (1, 2)


@NETWORKS.register("conv28")
class Conv28(SmallConvolutions):
    """Two 4x4 convolutions of stride 2 and one linear layer, for 28x28 images."""

    sizes: ClassVar[tuple[int, ...]] = (28,)
    multiples: ClassVar[tuple[int, ...]] = (1, 2)


@NETWORKS.register("conv32")
class Conv32(SmallConvolutions):
    """Three 4x4 convolutions of stride 2 and one linear layer, for 32x32 images."""

    sizes: ClassVar[tuple[int, ...]] = (32,)
    multiples: ClassVar[tuple[int, ...]] = (1, 2, 2)


@NETWORKS.register("conv64")
class Conv64(PaperConvolutions):
    """The network of Estermann et al. 2020 (arXiv 2010.13527), for 64x64 images."""

    sizes: ClassVar[tuple[int, ...]] = (64,)
    multiples: ClassVar[tuple[int, ...]] = (1, 1, 2, 2)


@NETWORKS.register("conv128")
class Conv128(PaperConvolutions):
    """The network for 64x64 images with one more convolution, for 128x128 images."""

    sizes: ClassVar[tuple[int, ...]] = (128,)
    multiples: ClassVar[tuple[int, ...]] = (1, 1, 2, 2, 2)
