"""The decoder as a list of plain steps with its weights, small enough for a page that decodes by itself.

The steps are those of torch's own export (``torch.export``), of which this knows the ones that our decoders consist
of. A decoder with any other has no program; the page then shows what was decoded beforehand.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from pbt_disent.models.contract import Objective
from pbt_disent.models.export import frozen_copy
from pbt_disent.models.latent_model import LatentModel
from pbt_disent.types import Json

__all__ = ["MOST_BYTES", "MOST_PRODUCTS", "DecoderProgram", "decoder_program"]

MOST_BYTES = 4_000_000
"""Weights beyond this many bytes stay out of a page."""
MOST_PRODUCTS = 100_000_000
"""Multiplications beyond this many take a browser longer than a hand on a slider can wait (0.2 s and more)."""
_HALF_ERROR = 0.5 / 255
_CODES = 8


@dataclass(frozen=True)
class DecoderProgram:
    """A decoder for one code at a time.

    Args:
        steps: each ``[operation, names of values it takes, details]``; the first value is the code, each step
            appends one, and the last one is the image (C, H, W) in 0 to 1.
        weights: of all steps one behind the other, little-endian floats.
        half: whether they have 16 bits and not 32.
        products: multiplications that one picture takes.
    """

    steps: list[Json]
    weights: bytes
    half: bool
    products: int


def decoder_program(model: LatentModel) -> DecoderProgram | None:
    """Return the decoder as a program; none if it has steps of another kind, or is too large or too slow for a page.

    Weights have 16 bits where no pixel of a few pictures then changes by more than half a level of 255.

    Args:
        model: a trained model.
    """
    wrapped = _Decoder(model.objective).eval()
    code = torch.zeros(1, len(model.latents))
    try:
        with torch.no_grad():
            program = torch.export.export(wrapped, (code,))
    except (RuntimeError, ValueError, TypeError):  # what torch raises where a decoder asks for the values themselves
        return None
    compiled = _Compiler(program).compile()
    if compiled is None or compiled.products > MOST_PRODUCTS:
        return None
    half = _survives_halving(wrapped, len(model.latents))
    weights = np.concatenate([part.ravel() for part in compiled.weights] or [np.empty(0, np.float32)])
    content = weights.astype("<f2" if half else "<f4").tobytes()
    if len(content) > MOST_BYTES:
        return None
    return DecoderProgram(compiled.steps, content, half, compiled.products)


class _Decoder(nn.Module):
    """Codes (1, Z) to images (1, C, H, W) in 0 to 1, with torch's own layers in the place of faster ones of ours."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = frozen_copy(objective)
        _replace(self.objective)

    def forward(self, codes: Tensor) -> Tensor:
        return self.objective.decode(codes)


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.ConvTranspose2d) and type(child) is not nn.ConvTranspose2d:
            plain = nn.ConvTranspose2d(
                child.in_channels,
                child.out_channels,
                child.kernel_size,  # type: ignore[arg-type]
                child.stride,  # type: ignore[arg-type]
                child.padding,  # type: ignore[arg-type]
                bias=child.bias is not None,
            )
            plain.load_state_dict(child.state_dict())
            setattr(module, name, plain)
        else:
            _replace(child)


def _survives_halving(decoder: _Decoder, latents: int) -> bool:
    codes = torch.randn(_CODES, latents, generator=torch.Generator().manual_seed(0))
    halved = copy.deepcopy(decoder)
    with torch.no_grad():
        for tensor in (*halved.parameters(), *halved.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
        return bool((decoder(codes) - halved(codes)).abs().max() <= _HALF_ERROR)


class _Unknown(Exception):
    """A step that a page does not know."""


@dataclass
class _Compiled:
    steps: list[Json]
    weights: list[np.ndarray[Any, np.dtype[np.float32]]]
    products: int


class _Compiler:
    """Turns an exported program, for a batch of one, into steps without a batch."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self._graph = program.graph
        signature = program.graph_signature
        tensors = {**program.state_dict, **program.constants}
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        named |= signature.inputs_to_lifted_tensor_constants
        self._known: dict[str, Tensor] = {name: tensors[target] for name, target in named.items()}
        (self._input,) = signature.user_inputs
        self._values: dict[str, int] = {str(self._input): 0}
        self._parts: dict[str, list[int]] = {}
        self._out = _Compiled([], [], 0)
        self._place = 0

    def compile(self) -> _Compiled | None:
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
