"""First weights from an explicit random stream, never from torch's global state."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["initialise"]


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all parameters of a module, in the order of its sub-modules, and reset its buffers.

    Convolutions and linear layers get torch's own distribution: uniform within 1/sqrt(fan-in). Normalisation layers
    start as the identity. A module with parameters of its own must offer ``initialise(generator)``.

    Args:
        module: built on the CPU; changed in place.
        generator: a CPU generator.

    Raises:
        TypeError: a sub-module owns parameters and none of the above applies.
    """
    for part in module.modules():
        own = getattr(part, "initialise", None)
        if callable(own):
            own(generator)
        elif isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_uniform_(part.weight, a=math.sqrt(5), generator=generator)
            if part.bias is not None:
                fan_in = part.weight[0].numel()
                nn.init.uniform_(part.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.reset_parameters()
        elif next(part.parameters(recurse=False), None) is not None:
            raise TypeError(f"{type(part).__name__} has parameters but no initialise(generator)")
