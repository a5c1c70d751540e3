"""The last layer of a decoder: a stride-2 transposed convolution to few channels, made fast on a CPU.

On one thread torch spends as long on 16 channels -> 1 at 32x32 as on the two wider layers before it. Here the
4x4 kernel's 16 taps are one small matrix product, and each output pixel is the sum of the four taps that reach it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pbt_disent.models.networks.layout import channels_last

__all__ = ["ToImage"]


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
