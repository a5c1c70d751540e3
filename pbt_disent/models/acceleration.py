"""Ways to run an objective's networks faster that change its numbers a little, or cost a start: bf16, compilation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

__all__ = ["accelerated"]


@contextlib.contextmanager
def accelerated(objective: nn.Module, device: str, *, bf16: bool, compiled: bool) -> Iterator[None]:
    """Run the networks of an objective in bfloat16, or compiled, while the context lasts.

    Parameters, losses and all that lies between networks stay in float32; checkpoints are not touched.

    Args:
        objective: The objective; its child modules that can be called are its networks.
        device: The kind of device, ``cpu`` or ``cuda``.
        bf16: Whether matrix products and convolutions are taken in bfloat16 (`torch.autocast`).
        compiled: Whether the networks are compiled (`torch.compile`).
    """
    networks = [child for child in objective.children() if type(child).forward is not nn.Module.forward]
    with contextlib.ExitStack() as undo:
        for network in networks if bf16 or compiled else []:
            for norm in network.modules() if bf16 else []:
                if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                    _replace_forward(norm, _in_float32(norm.forward), undo)
            forward: Callable[..., Any] = torch.compile(network.forward) if compiled else network.forward
            _replace_forward(network, _in_bf16(forward, device) if bf16 else forward, undo)
        yield


def _replace_forward(module: nn.Module, forward: Callable[..., Any], undo: contextlib.ExitStack) -> None:
    vars(module)["forward"] = forward
    undo.callback(vars(module).pop, "forward")


def _in_float32(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Convert the input: batch norm takes no mixed types under `torch.vmap`, and autocast leaves its input as it is."""
    return lambda features: forward(features.float())


def _in_bf16(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    def run(*inputs: Any) -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            outputs = forward(*inputs)
        return tree_map(lambda tensor: tensor.float(), outputs)

    return run
