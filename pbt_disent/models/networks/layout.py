"""Channels-last memory, which suits the convolutions of CPUs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["channels_last"]


def channels_last(maps: Tensor) -> Tensor:
    """Return a copy of (B, C, H, W) maps with the strides of channels-last memory.

    Unlike `Tensor.contiguous` it does so for a single channel too: there both layouts are the same memory, but torch
    chooses its kernels, and the layout of what they return, by the strides.
    """
    return torch.empty_like(maps, memory_format=torch.channels_last).copy_(maps)
