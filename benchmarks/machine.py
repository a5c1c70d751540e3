"""The machine that a benchmark runs on: what it is, what is installed, and the rates that it reaches at best."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pbt_disent.machine import usable_cpus, usable_memory
from pbt_disent.types import Json

__all__ = [
    "Layer",
    "describe_machine",
    "layer_seconds",
    "matrix_product_gflops",
    "memory_copy_gigabytes",
    "package_versions",
    "private_mib",
    "trace_layers",
]

PACKAGES = ("pbt-disent", "torch", "numpy", "scipy", "scikit-learn", "pillow", "ray", "mlflow", "pythae")


def describe_machine() -> Json:
    """Return what the benchmark runs on, with the rate of its matrix product and of its memory, on all threads."""
    import torch

    return {
        "processor": _processor(),
        "cpus": usable_cpus(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(usable_memory() / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "platform": platform.platform(),
        "load_before": round(os.getloadavg()[0], 2),
        "matrix_gflops": round(matrix_product_gflops(), 1),
        "memory_gigabytes_per_second": round(memory_copy_gigabytes(), 1),
    }


def package_versions() -> dict[str, str | None]:
    """Return the version of Python and of each package; None where it is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer with the shape of its input.

    Args:
        module: The layer.
        shape: The shape of its input, the batch first.
        flops: The operations of one forward and backward pass: two per multiply-add, for the output, the gradient of
            the weight and the gradient of the input. The last is left out for the layer that reads the images.
        reads_images: Whether the layer reads the images.
    """

    module: Any
    shape: tuple[int, ...]
    flops: float
    reads_images: bool


def matrix_product_gflops(size: int = 1536) -> float:
    """Return the rate of torch's float32 matrix product, in 1e9 operations a second."""
    import torch

    matrix = torch.rand(size, size)
    return 2e-9 * size**3 / _fastest(lambda: matrix @ matrix, 5)


def memory_copy_gigabytes(size: int = 1 << 27) -> float:
    """Return the rate of a copy in memory, read and written bytes counted, in 1e9 bytes a second."""
    source = np.ones(size, dtype=np.uint8)
    target = np.empty_like(source)
    return 2e-9 * size / _fastest(lambda: np.copyto(target, source), 5)


def trace_layers(networks: Iterable[tuple[Any, Any]]) -> list[Layer]:
    """Return the convolutions and linear layers of some networks with the shapes of their inputs.

    Args:
        networks: Pairs of a network and an input; the first network reads images.
    """
    import torch
    from torch import nn

    layers: list[Layer] = []

    def trace(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        first = not layers
        positions = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        multiply_adds = positions.numel() * module.weight[0].numel()
        layers.append(Layer(module, tuple(inputs[0].shape), 2.0 * multiply_adds * (2 if first else 3), first))

    handles = [
        module.register_forward_hook(trace)
        for network, _ in networks
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    with torch.no_grad():
        for network, inputs in networks:
            network(inputs)
    for handle in handles:
        handle.remove()
    return layers


def layer_seconds(layers: Iterable[Layer], times: int) -> float:
    """Return the seconds of one forward and backward pass of all layers, each alone and in its faster memory layout.

    Args:
        layers: The layers.
        times: How often each pass is timed; the fastest one counts.
    """
    import torch

    total = 0.0
    for layer in layers:
        seconds = []
        for layout in (torch.contiguous_format, torch.channels_last) if len(layer.shape) == 4 else (None,):
            module, inputs = layer.module, torch.rand(layer.shape, requires_grad=not layer.reads_images)
            if layout is not None:
                module = module.to(memory_format=layout)
                inputs = inputs.detach().to(memory_format=layout).requires_grad_(not layer.reads_images)
            gradient = torch.ones_like(module(inputs))
            seconds.append(_fastest(partial(_forward_and_backward, module, inputs, gradient), times))
        total += min(seconds)
    return total


def private_mib() -> float:
    """Return the memory in MiB that this process has written for itself, from /proc.

    Clean pages of a mapped file are the page cache's, though they count as private while one process alone maps them.
    """
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


def _forward_and_backward(module: Any, inputs: Any, gradient: Any) -> None:
    module(inputs).backward(gradient)


def _fastest(work: Callable[[], object], times: int) -> float:
    """Return the seconds of the fastest of some runs, after one that is not timed."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
