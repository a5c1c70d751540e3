"""From torch's own export of a decoder (``torch.export``) to plain steps that a few lines of a script can follow.

It knows the operations that our decoders consist of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from pbt_disent.types import Json

__all__ = ["Compiled", "compile_steps"]


class _Unknown(Exception):
    """A step that a page does not know."""


@dataclass
class Compiled:
    """Steps as in `pbt_disent.models.decoder_program.DecoderProgram`, their weights, and multiplications in all."""

    steps: list[Json]
    weights: list[np.ndarray[Any, np.dtype[np.float32]]]
    products: int


def compile_steps(program: torch.export.ExportedProgram, classes: Sequence[int] = ()) -> Compiled | None:
    """Return the steps of a program that was exported for a batch of one; none if it has any of another kind.

    Args:
        program: of a decoder.
        classes: the number of classes of each of the first latents, if the program takes a unit for each class.
    """
    return _Compiler(program, classes).compile()


class _Compiler:
    """Turns an exported program, for a batch of one, into steps without a batch."""

    def __init__(self, program: torch.export.ExportedProgram, classes: Sequence[int]) -> None:
        self._graph = program.graph
        signature = program.graph_signature
        tensors = {**program.state_dict, **program.constants}
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        named |= signature.inputs_to_lifted_tensor_constants
        self._known: dict[str, Tensor] = {name: tensors[target] for name, target in named.items()}
        (begun,) = signature.user_inputs
        first: list[Json] = [{"do": "classes", "of": [0], "sizes": list(classes)}] if classes else []
        self._out = Compiled(first, [], 0)
        self._values: dict[str, int] = {str(begun): len(first)}
        self._parts: dict[str, list[int]] = {}
        self._place = 0

    def compile(self) -> Compiled | None:
        try:
            for node in self._graph.nodes:
                if node.op == "call_function":
                    self._step(node)
                elif node.op == "output":
                    (result,) = node.args[0]
                    if self._values[result.name] != len(self._out.steps):
                        raise _Unknown
        except (_Unknown, KeyError):
            return None
        return self._out

    def _step(self, node: fx.Node) -> None:
        name = str(getattr(node.target, "_opname", getattr(node.target, "__name__", "")))
        if name == "getitem":
            self._values[node.name] = self._parts[node.args[0].name][node.args[1]]  # type: ignore[union-attr, index]
            return
        if all(isinstance(one, fx.Node) and one.name in self._known for one in node.all_input_nodes):
            self._fold(node)
            return
        _STEPS.get(name, _unknown)(self, node)

    def _fold(self, node: fx.Node) -> None:
        """Compute what depends on weights alone."""
        target: Callable[..., Tensor] = node.target  # type: ignore[assignment]
        arguments = fx.node.map_arg(node.args, lambda one: self._known[one.name])
        with torch.no_grad():
            self._known[node.name] = target(*arguments, **node.kwargs)

    def emit(self, node: fx.Node, operation: str, inputs: list[Any], **details: Any) -> None:
        """Append a step whose result is the node's value."""
        self._out.steps.append({"do": operation, "of": [self._values[one.name] for one in inputs], **details})
        self._values[node.name] = len(self._out.steps)

    def emit_parts(self, node: fx.Node, size: int, total: int) -> None:
        """Append a step for each part of a vector that is split."""
        places = []
        for start in range(0, total, size):
            self.emit(node, "slice", [node.args[0]], start=start, stop=min(start + size, total))
            places.append(self._values[node.name])
        self._parts[node.name] = places

    def weigh(self, tensor: Tensor | None) -> int | None:
        """Put a tensor behind the other weights and return where it begins, in numbers."""
        if tensor is None:
            return None
        place = self._place
        self._out.weights.append(tensor.detach().to(torch.float32).contiguous().numpy())
        self._place += tensor.numel()
        return place

    def known(self, argument: Any) -> Tensor | None:
        """Return the weights that an argument is, if it is there."""
        if argument is None:
            return None
        if not isinstance(argument, fx.Node):
            raise _Unknown
        return self._known[argument.name]

    def count(self, products: int) -> None:
        """Add to the multiplications."""
        self._out.products += products


def _unknown(_compiler: _Compiler, _node: fx.Node) -> None:
    raise _Unknown


def _argument(node: fx.Node, place: int, default: Any = None) -> Any:
    return node.args[place] if len(node.args) > place else default


def _shape(node: Any) -> list[int]:
    return [int(size) for size in node.meta["val"].shape]


def _linear(to: _Compiler, node: fx.Node) -> None:
    weight = to.known(node.args[1])
    assert weight is not None
    rows, columns = weight.shape
    bias = to.known(_argument(node, 2))
    to.emit(node, "linear", [node.args[0]], rows=rows, columns=columns, weight=to.weigh(weight), bias=to.weigh(bias))
    to.count(rows * columns)


def _matmul(to: _Compiler, node: fx.Node) -> None:
    weight = to.known(node.args[1])
    assert weight is not None
    columns, rows = weight.shape
    to.emit(node, "linear", [node.args[0]], rows=rows, columns=columns, weight=to.weigh(weight.t()), bias=None)
    to.count(rows * columns)


def _transposed(to: _Compiler, node: fx.Node) -> None:
    weight, bias = to.known(node.args[1]), to.known(_argument(node, 2))
    assert weight is not None
    stride, padding = _argument(node, 3, [1, 1]), _argument(node, 4, [0, 0])
    extra, groups, dilation = _argument(node, 5, [0, 0]), _argument(node, 6, 1), _argument(node, 7, [1, 1])
    square = weight.shape[2] == weight.shape[3] and len(set(stride)) == 1 and len(set(padding)) == 1
    if not square or set(extra) != {0} or groups != 1 or set(dilation) != {1}:
        raise _Unknown
    (_, channels, height, width), (_, out, *_) = _shape(node.args[0]), _shape(node)
    sizes = {"channels": channels, "height": height, "width": width, "out": out, "kernel": int(weight.shape[2])}
    places = {"weight": to.weigh(weight), "bias": to.weigh(bias)}
    to.emit(node, "transposed", [node.args[0]], **sizes, **places, stride=int(stride[0]), padding=int(padding[0]))
    to.count(weight.numel() * height * width)


def _batch_norm(to: _Compiler, node: fx.Node) -> None:
    """In evaluation mode: a factor and a term for each channel."""
    weight, bias, mean, variance = (to.known(node.args[place]) for place in (1, 2, 3, 4))
    assert mean is not None
    assert variance is not None
    factor = torch.rsqrt(variance + float(node.args[7]))  # type: ignore[arg-type]
    factor = factor if weight is None else factor * weight
    term = -mean * factor if bias is None else bias - mean * factor
    shape = _shape(node)
    each = math.prod(shape[2:])
    to.emit(node, "affine", [node.args[0]], each=each, factor=to.weigh(factor), term=to.weigh(term))
    to.count(math.prod(shape))


def _add(to: _Compiler, node: fx.Node) -> None:
    """Of a bias for each entry or channel."""
    bias = to.known(node.args[1])
    shape = _shape(node)
    assert bias is not None
    if node.kwargs or bias.numel() != shape[1]:
        raise _Unknown
    each = math.prod(shape[2:])
    ones = torch.ones(shape[1])
    to.emit(node, "affine", [node.args[0]], each=each, factor=to.weigh(ones), term=to.weigh(bias.flatten()))


def _scale(to: _Compiler, node: fx.Node) -> None:
    value, factor = node.args[:2]
    if not isinstance(factor, int | float):
        raise _Unknown
    to.emit(node, "scale", [value], by=float(factor))


def _leaky(to: _Compiler, node: fx.Node) -> None:
    to.emit(node, "leaky", [node.args[0]], slope=float(_argument(node, 1, 0.01)))


def _elu(to: _Compiler, node: fx.Node) -> None:
    if any(argument != 1 for argument in node.args[1:]):
        raise _Unknown
    to.emit(node, "elu", [node.args[0]])


def _split(to: _Compiler, node: fx.Node) -> None:
    size, dimension, shape = node.args[1], _argument(node, 2, 0), _shape(node.args[0])
    if not isinstance(size, int) or dimension != 1 or len(shape) != 2:
        raise _Unknown
    to.emit_parts(node, size, shape[1])


def _join(to: _Compiler, node: fx.Node) -> None:
    """Of channels, which lie one behind the other."""
    if _argument(node, 1, 0) != 1:
        raise _Unknown
    to.emit(node, "join", list(node.args[0]))  # type: ignore[arg-type]


def _same(to: _Compiler, node: fx.Node) -> None:
    """A new shape for numbers that stay in place."""
    if len(_shape(node)) == 0:
        raise _Unknown
    to.emit(node, "same", [node.args[0]])


def _plain(operation: str) -> Callable[[_Compiler, fx.Node], None]:
    return lambda to, node: to.emit(node, operation, [node.args[0]])


_STEPS: dict[str, Callable[[_Compiler, fx.Node], None]] = {
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "conv_transpose2d": _transposed,
    "batch_norm": _batch_norm,
    "add": _add,
    "mul": _scale,
    "relu": _plain("relu"),
    "relu_": _plain("relu"),
    "leaky_relu": _leaky,
    "elu": _elu,
    "sigmoid": _plain("sigmoid"),
    "split": _split,
    "cat": _join,
    "view": _same,
    "reshape": _same,
    "unflatten": _same,
    "flatten": _same,
}
