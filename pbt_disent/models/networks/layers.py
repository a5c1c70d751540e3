"""Layers that networks share: convolutions that are fast on a CPU, and units of classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ClassUnits", "FromPixel", "ToImage", "ToPixel", "channels_last"]


def channels_last(maps: Tensor) -> Tensor:
    """Return a copy of (B, C, H, W) maps with the strides of channels-last memory.

    Unlike `Tensor.contiguous` it does so for a single channel too: there both layouts are the same memory, but torch
    chooses its kernels, and the layout of what they return, by the strides.
    """
    return torch.empty_like(maps, memory_format=torch.channels_last).copy_(maps)


class ClassUnits(nn.Module):
    """Codes (B, Z), of which the first are classes, to units (B, sum of sizes + free latents); it has no weights.

    Args:
        sizes: the number of classes of each labelled latent.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)

    def forward(self, codes: Tensor) -> Tensor:
        """Round the labelled latents to a class, one that there is, and leave the free ones as they are."""
        labelled, free = codes[:, : len(self.sizes)], codes[:, len(self.sizes) :]
        most = torch.tensor(self.sizes, device=codes.device, dtype=codes.dtype) - 1
        return torch.cat([self.one_hot(torch.minimum(labelled.round().clamp_min(0), most).long()), free], 1)

    def one_hot(self, classes: Tensor) -> Tensor:
        """(B, L) class ids -> (B, sum of sizes); torch's own would look at the ids, and so wait for a device."""
        ids = [torch.arange(size, device=classes.device) for size in self.sizes]
        return torch.cat([classes[:, column, None] == one for column, one in enumerate(ids)], 1).to(torch.float32)


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


def _scatter(features: Tensor, weight: Tensor) -> Tensor:
    """Transposed convolution, kernel 4, stride 2, padding 1: (B, C, H, W) -> (B, out, 2H, 2W)."""
    batch, channels, height, width = features.shape
    out = weight.shape[1]
    rows = features.permute(0, 2, 3, 1).reshape(-1, channels)
    taps = (weight.reshape(channels, 16 * out).t() @ rows.t()).view(out, 2, 2, 2, 2, batch, height, width)
    image = features.new_zeros(out, 2, 2, batch, height + 1, width + 1)
    for down in (0, 1):
        for right in (0, 1):
            image[..., down : down + height, right : right + width].add_(taps[:, down, :, right])
    image = image.permute(3, 0, 4, 1, 5, 2).reshape(batch, out, 2 * height + 2, 2 * width + 2)
    return image[:, :, 1:-1, 1:-1]


class _TransposedConvolution(torch.autograd.Function):
    """`_scatter` with the gradients of the convolution that it transposes; where it is batched, torch's own."""

    @staticmethod
    def forward(features: Tensor, weight: Tensor) -> Tensor:
        return _scatter(features, weight)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        context.save_for_backward(*inputs)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        features, weight = context.saved_tensors
        gradient = channels_last(gradients[0])
        for_features = functional.conv2d(gradient, weight, stride=2, padding=1)
        _, for_weight, _ = torch.ops.aten.convolution_backward(
            features, gradient, weight, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False]
        )
        return for_features, for_weight

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, int | None], features: Tensor, weight: Tensor) -> tuple[Tensor, int]:
        return torch.vmap(_plain, dims)(features, weight), 0


def _plain(features: Tensor, weight: Tensor) -> Tensor:
    return functional.conv_transpose2d(features, weight, stride=2, padding=1)


_transposed_convolution: Callable[[Tensor, Tensor], Tensor] = _TransposedConvolution.apply


class ToImage(nn.ConvTranspose2d):
    """Transposed 4x4 convolution with stride 2 and padding 1: (B, channels, H, W) -> (B, out, 2H, 2W).

    Args:
        channels: of the features.
        out: channels of the image; the fast path is taken for 4 or fewer, on a CPU, in full precision.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 4, 2, 1)

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return logits (B, out, 2H, 2W)."""
        fast = features.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and self.out_channels <= 4
        if self.bias is None or not fast:
            return super().forward(features, output_size)
        return _transposed_convolution(features, self.weight) + self.bias.view(1, -1, 1, 1)
