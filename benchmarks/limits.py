"""What the machine can do at best: measured rates that a training step is held against."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Layer", "convolution_seconds", "layers_of", "matrix_gflops", "memory_gigabytes"]


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer with the shape that it sees.

    Args:
        module: the layer.
        shape: of its input, the batch first.
        flops: of one forward and backward pass: two per multiply-add, for the output, the gradient of the weight and
            the gradient of the input; the last is left out for the layer that reads the images.
        reads_images: whether it is that layer.
    """

    module: Any
    shape: tuple[int, ...]
    flops: float
    reads_images: bool


def _best(work: Callable[[], object], times: int) -> float:
    """Return the seconds of the fastest of some runs, after one that is not timed."""
    work()
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return min(found)


def matrix_gflops(size: int = 1536) -> float:
    """Return the rate of torch's float32 matrix product, in 1e9 operations a second."""
    import torch

    matrix = torch.rand(size, size)
    return 2e-9 * size**3 / _best(lambda: matrix @ matrix, 5)


def memory_gigabytes(size: int = 1 << 27) -> float:
    """Return the rate of a copy in memory, read and written bytes counted, in 1e9 bytes a second."""
    source = np.ones(size, dtype=np.uint8)
    target = np.empty_like(source)
    return 2e-9 * size / _best(lambda: np.copyto(target, source), 5)


def layers_of(parts: Iterable[tuple[Any, Any]]) -> list[Layer]:
    """Return the convolutions and linear layers of some modules with the shapes that they see.

    Args:
        parts: modules with an input each; the first one reads images.
    """
    import torch
    from torch import nn

    found: list[Layer] = []

    def note(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        first = not found
        taps = inputs[0].numel() * module.weight[0].numel()
        if not isinstance(module, nn.ConvTranspose2d):
            taps = output.numel() * module.weight[0].numel()
        found.append(Layer(module, tuple(inputs[0].shape), 2.0 * taps * (2 if first else 3), first))

    handles = [
        module.register_forward_hook(note)
        for part, _ in parts
        for module in part.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    with torch.no_grad():
        for part, inputs in parts:
            part(inputs)
    for handle in handles:
        handle.remove()
    return found


def convolution_seconds(layers: Iterable[Layer], times: int) -> float:
    """Return the seconds of one forward and backward pass of all layers, each alone and in its faster memory layout."""
    import torch

    total = 0.0
    for layer in layers:
        found = []
        for layout in (torch.contiguous_format, torch.channels_last) if len(layer.shape) == 4 else (None,):
            module, inputs = layer.module, torch.rand(layer.shape, requires_grad=not layer.reads_images)
            if layout is not None:
                module = module.to(memory_format=layout)
                inputs = inputs.detach().to(memory_format=layout).requires_grad_(not layer.reads_images)
            gradient = torch.ones_like(module(inputs))
            found.append(_best(lambda m=module, x=inputs, g=gradient: m(x).backward(g), times))  # type: ignore[misc]
        total += min(found)
    return total
