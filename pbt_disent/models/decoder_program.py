"""The decoder as a list of plain steps with its weights, small enough for a page that decodes by itself.

The steps come from torch's own export of the decoder (``torch.export``). A decoder with operations that are not in
`_TRANSLATORS` has no program; the page then shows what was decoded beforehand.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from pbt_disent.models.contract import Objective
from pbt_disent.models.export import frozen_copy
from pbt_disent.models.latent_model import LatentModel
from pbt_disent.models.objectives.ssdgm import ClassUnits
from pbt_disent.types import Json

__all__ = ["MAX_BYTES", "MAX_MULTIPLICATIONS", "DecoderProgram", "decoder_program"]

MAX_BYTES = 6_000_000
"""Weights beyond this many bytes stay out of a page."""
MAX_MULTIPLICATIONS = 100_000_000
"""Multiplications beyond this many take a browser longer than a hand on a slider can wait (0.2 s and more)."""
_HALF_LEVEL = 0.5 / 255
_COMPARED_CODES = 8


@dataclass(frozen=True)
class DecoderProgram:
    """A decoder for one code at a time.

    Args:
        steps: The steps, mappings of the operation (``do``), the indices of the values that it takes (``of``) and its
            details; value 0 is the code, each step appends one, and the last one is the image (C, H, W) in 0 to 1.
        weights: The weights of all steps, one behind the other, as little-endian floats.
        half: Whether the weights have 16 bits and not 32.
        multiplications: The number of multiplications that one image takes.
    """

    steps: list[Json]
    weights: bytes
    half: bool
    multiplications: int


def decoder_program(model: LatentModel) -> DecoderProgram | None:
    """Return the decoder as a program, or None if it has steps of another kind, or is too large or slow for a page.

    Weights have 16 bits where no pixel of a few images then changes by more than half a level of 255.

    Args:
        model: The trained model.
    """
    decoder = _Decoder(model.objective).eval()
    try:
        with torch.no_grad():
            program = torch.export.export(decoder, (decoder.to_input(torch.zeros(1, len(model.latents))),))
    except (RuntimeError, ValueError, TypeError):  # what torch raises where a decoder asks for the values themselves
        return None
    translation = _translate(program, [] if decoder.class_units is None else decoder.class_units.sizes)
    if translation is None or translation.multiplications > MAX_MULTIPLICATIONS:
        return None
    half = _survives_halving(decoder, len(model.latents))
    weights = np.concatenate([part.ravel() for part in translation.weights] or [np.empty(0, np.float32)])
    content = weights.astype("<f2" if half else "<f4").tobytes()
    if len(content) > MAX_BYTES:
        return None
    return DecoderProgram(translation.steps, content, half, translation.multiplications)


class _Decoder(nn.Module):
    """Codes to images (1, C, H, W) in 0 to 1, with torch's own layers in the place of faster ones of ours.

    Where the decoder takes classes as units, `class_units` makes these of codes; they are not part of what is exported.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = frozen_copy(objective)
        self.class_units = _take_out_class_units(self.objective)
        _replace_transposed_convolutions(self.objective)

    def to_input(self, codes: Tensor) -> Tensor:
        """Return what `forward` takes, for codes (1, Z)."""
        return codes if self.class_units is None else self.class_units(codes)

    def forward(self, units: Tensor) -> Tensor:
        return self.objective.decode(units)


def _take_out_class_units(objective: nn.Module) -> ClassUnits | None:
    """Let an objective decode units of classes instead of codes; return what makes the units, or None without any."""
    for name, child in objective.named_children():
        if isinstance(child, ClassUnits):
            setattr(objective, name, nn.Identity())
            return child
    return None


def _replace_transposed_convolutions(module: nn.Module) -> None:
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
            _replace_transposed_convolutions(child)


def _survives_halving(decoder: _Decoder, latents: int) -> bool:
    codes = torch.randn(_COMPARED_CODES, latents, generator=torch.Generator().manual_seed(0))
    halved = copy.deepcopy(decoder)
    with torch.no_grad():
        for tensor in (*halved.parameters(), *halved.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
        units = decoder.to_input(codes)
        return bool((decoder(units) - halved(units)).abs().max() <= _HALF_LEVEL)


class _UntranslatableError(Exception):
    """The program has an operation that a page cannot do."""


@dataclass
class _Translation:
    """Steps as in `DecoderProgram`, their weights, and the number of multiplications in all."""

    steps: list[Json]
    weights: list[np.ndarray[Any, np.dtype[np.float32]]]
    multiplications: int


def _translate(program: torch.export.ExportedProgram, classes: Sequence[int]) -> _Translation | None:
    """Return the steps of a decoder that was exported for a batch of one, or None if it has any of another kind.

    Args:
        program: The exported decoder.
        classes: The number of classes of each of the first latents, if the program takes a unit for each class.
    """
    try:
        return _Translator(program, classes).translate()
    except (_UntranslatableError, KeyError):
        return None


class _Translator:
    """Turns an exported program, for a batch of one, into steps without a batch."""

    def __init__(self, program: torch.export.ExportedProgram, classes: Sequence[int]) -> None:
        self._graph = program.graph
        signature = program.graph_signature
        tensors = {**program.state_dict, **program.constants}
        targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        targets |= signature.inputs_to_lifted_tensor_constants
        self._constants: dict[str, Tensor] = {name: tensors[target] for name, target in targets.items()}
        (code,) = signature.user_inputs
        first: list[Json] = [{"do": "classes", "of": [0], "sizes": list(classes)}] if classes else []
        self._translation = _Translation(first, [], 0)
        self._values: dict[str, int] = {str(code): len(first)}
        self._parts: dict[str, list[int]] = {}
        self._num_weights = 0

    def translate(self) -> _Translation:
        for node in self._graph.nodes:
            if node.op == "call_function":
                self._translate_node(node)
            elif node.op == "output":
                (result,) = node.args[0]
                if self._values[result.name] != len(self._translation.steps):
                    raise _UntranslatableError
        return self._translation

    def _translate_node(self, node: fx.Node) -> None:
        name = str(getattr(node.target, "_opname", getattr(node.target, "__name__", "")))
        if name == "getitem":
            self._values[node.name] = self._parts[node.args[0].name][node.args[1]]  # type: ignore[union-attr, index]
        elif all(isinstance(source, fx.Node) and source.name in self._constants for source in node.all_input_nodes):
            self._fold(node)
        elif name in _TRANSLATORS:
            _TRANSLATORS[name](self, node)
        else:
            raise _UntranslatableError

    def _fold(self, node: fx.Node) -> None:
        """Compute what depends on weights alone."""
        target: Callable[..., Tensor] = node.target  # type: ignore[assignment]
        arguments = fx.node.map_arg(node.args, lambda source: self._constants[source.name])
        with torch.no_grad():
            self._constants[node.name] = target(*arguments, **node.kwargs)

    def add_step(self, node: fx.Node, operation: str, inputs: list[Any], **details: Any) -> None:
        """Append a step whose result is the node's value."""
        indices = [self._values[source.name] for source in inputs]
        self._translation.steps.append({"do": operation, "of": indices, **details})
        self._values[node.name] = len(self._translation.steps)

    def add_slices(self, node: fx.Node, size: int, total: int) -> None:
        """Append a step for each part of a vector that is split."""
        indices = []
        for start in range(0, total, size):
            self.add_step(node, "slice", [node.args[0]], start=start, stop=min(start + size, total))
            indices.append(self._values[node.name])
        self._parts[node.name] = indices

    def add_weights(self, tensor: Tensor | None) -> int | None:
        """Put a tensor behind the other weights and return where it begins, in numbers."""
        if tensor is None:
            return None
        start = self._num_weights
        self._translation.weights.append(tensor.detach().to(torch.float32).contiguous().numpy())
        self._num_weights += tensor.numel()
        return start

    def constant(self, argument: Any) -> Tensor:
        """Return the weights that an argument is."""
        if not isinstance(argument, fx.Node):
            raise _UntranslatableError
        return self._constants[argument.name]

    def optional_constant(self, argument: Any) -> Tensor | None:
        """Return the weights that an argument is, or None where it is None."""
        return None if argument is None else self.constant(argument)

    def add_multiplications(self, count: int) -> None:
        self._translation.multiplications += count


def _argument(node: fx.Node, index: int, default: Any = None) -> Any:
    return node.args[index] if len(node.args) > index else default


def _shape(node: Any) -> list[int]:
    return [int(size) for size in node.meta["val"].shape]


def _linear(translator: _Translator, node: fx.Node) -> None:
    weight, bias = translator.constant(node.args[1]), translator.optional_constant(_argument(node, 2))
    _add_linear(translator, node, weight, bias)


def _matmul(translator: _Translator, node: fx.Node) -> None:
    _add_linear(translator, node, translator.constant(node.args[1]).t(), None)


def _add_linear(translator: _Translator, node: fx.Node, weight: Tensor, bias: Tensor | None) -> None:
    rows, columns = weight.shape
    starts = {"weight": translator.add_weights(weight), "bias": translator.add_weights(bias)}
    translator.add_step(node, "linear", [node.args[0]], rows=rows, columns=columns, **starts)
    translator.add_multiplications(rows * columns)


def _transposed_convolution(translator: _Translator, node: fx.Node) -> None:
    weight, bias = translator.constant(node.args[1]), translator.optional_constant(_argument(node, 2))
    stride, padding = _argument(node, 3, [1, 1]), _argument(node, 4, [0, 0])
    extra, groups, dilation = _argument(node, 5, [0, 0]), _argument(node, 6, 1), _argument(node, 7, [1, 1])
    is_square = weight.shape[2] == weight.shape[3] and len(set(stride)) == 1 and len(set(padding)) == 1
    if not is_square or set(extra) != {0} or groups != 1 or set(dilation) != {1}:
        raise _UntranslatableError
    (_, channels, height, width), (_, out, *_) = _shape(node.args[0]), _shape(node)
    sizes = {"channels": channels, "height": height, "width": width, "out": out, "kernel": int(weight.shape[2])}
    starts = {"weight": translator.add_weights(weight), "bias": translator.add_weights(bias)}
    steps = {"stride": int(stride[0]), "padding": int(padding[0])}
    translator.add_step(node, "transposed", [node.args[0]], **sizes, **starts, **steps)
    translator.add_multiplications(weight.numel() * height * width)


def _batch_norm(translator: _Translator, node: fx.Node) -> None:
    """Translate batch norm in evaluation mode: a factor and a term for each channel."""
    weight, bias = (translator.optional_constant(node.args[index]) for index in (1, 2))
    mean, variance = (translator.constant(node.args[index]) for index in (3, 4))
    factor = torch.rsqrt(variance + float(node.args[7]))  # type: ignore[arg-type]
    factor = factor if weight is None else factor * weight
    term = -mean * factor if bias is None else bias - mean * factor
    _add_affine(translator, node, factor, term)
    translator.add_multiplications(math.prod(_shape(node)))


def _add(translator: _Translator, node: fx.Node) -> None:
    """Translate the addition of a bias for each entry or channel."""
    bias, channels = translator.constant(node.args[1]), _shape(node)[1]
    if node.kwargs or bias.numel() != channels:
        raise _UntranslatableError
    _add_affine(translator, node, torch.ones(channels), bias.flatten())


def _add_affine(translator: _Translator, node: fx.Node, factor: Tensor, term: Tensor) -> None:
    pixels = math.prod(_shape(node)[2:])
    starts = {"factor": translator.add_weights(factor), "term": translator.add_weights(term)}
    translator.add_step(node, "affine", [node.args[0]], each=pixels, **starts)


def _scale(translator: _Translator, node: fx.Node) -> None:
    value, factor = node.args[:2]
    if not isinstance(factor, int | float):
        raise _UntranslatableError
    translator.add_step(node, "scale", [value], by=float(factor))


def _leaky_relu(translator: _Translator, node: fx.Node) -> None:
    translator.add_step(node, "leaky", [node.args[0]], slope=float(_argument(node, 1, 0.01)))


def _elu(translator: _Translator, node: fx.Node) -> None:
    if any(argument != 1 for argument in node.args[1:]):
        raise _UntranslatableError
    translator.add_step(node, "elu", [node.args[0]])


def _split(translator: _Translator, node: fx.Node) -> None:
    size, dimension, shape = node.args[1], _argument(node, 2, 0), _shape(node.args[0])
    if not isinstance(size, int) or dimension != 1 or len(shape) != 2:
        raise _UntranslatableError
    translator.add_slices(node, size, shape[1])


def _concatenate(translator: _Translator, node: fx.Node) -> None:
    """Translate the concatenation of channels, which lie one behind the other."""
    if _argument(node, 1, 0) != 1:
        raise _UntranslatableError
    translator.add_step(node, "join", list(node.args[0]))  # type: ignore[arg-type]


def _reshape(translator: _Translator, node: fx.Node) -> None:
    """Translate a new shape for numbers that stay in place."""
    if len(_shape(node)) == 0:
        raise _UntranslatableError
    translator.add_step(node, "same", [node.args[0]])


def _elementwise(operation: str) -> Callable[[_Translator, fx.Node], None]:
    return lambda translator, node: translator.add_step(node, operation, [node.args[0]])


_TRANSLATORS: dict[str, Callable[[_Translator, fx.Node], None]] = {
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "conv_transpose2d": _transposed_convolution,
    "batch_norm": _batch_norm,
    "add": _add,
    "mul": _scale,
    "relu": _elementwise("relu"),
    "relu_": _elementwise("relu"),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "sigmoid": _elementwise("sigmoid"),
    "split": _split,
    "cat": _concatenate,
    "view": _reshape,
    "reshape": _reshape,
    "unflatten": _reshape,
    "flatten": _reshape,
}
