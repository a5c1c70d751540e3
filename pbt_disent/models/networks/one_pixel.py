"""Convolutions between a whole feature map and a single pixel: matrix products, and computed as such.

On a CPU torch's convolution takes several times as long for them. Both layers read and write channels-last maps
without a copy.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["FromPixel", "ToPixel"]


class ToPixel(nn.Conv2d):
    """Convolution whose kernel covers the map: (B, channels, side, side) -> (B, out, 1, 1).

    Args:
        channels: of the map.
        out: channels of the pixel.
        side: height and width of the map.
        bias: whether a bias is added.
    """

    def __init__(self, channels: int, out: int, side: int, *, bias: bool = True) -> None:
        super().__init__(channels, out, side, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out, 1, 1)."""
        pixel = _rows(features) @ _rows(self.weight).mT
        return (pixel if self.bias is None else pixel + self.bias)[:, :, None, None]


class FromPixel(nn.ConvTranspose2d):
    """Transposed convolution of a single pixel: (B, channels, 1, 1) -> (B, out, side, side), without a bias.

    Args:
        channels: of the pixel.
        out: channels of the map.
        side: height and width of the map.
    """

    def __init__(self, channels: int, out: int, side: int) -> None:
        super().__init__(channels, out, side, bias=False)

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (B, out, side, side)."""
        spread = features.flatten(1) @ _rows(self.weight)
        return spread.view(-1, *self.kernel_size, self.out_channels).movedim(-1, 1)


def _rows(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W * C)."""
    return maps.movedim(1, -1).flatten(1)
