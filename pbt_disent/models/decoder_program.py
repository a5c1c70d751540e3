"""The decoder as a list of plain steps with its weights, small enough for a page that decodes by itself.

A decoder with steps that `pbt_disent.models.decoder_steps` does not know has no program; the page then shows what was
decoded beforehand.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pbt_disent.models.contract import Objective
from pbt_disent.models.decoder_steps import compile_steps
from pbt_disent.models.export import frozen_copy
from pbt_disent.models.latent_model import LatentModel
from pbt_disent.models.networks.classes import ClassUnits
from pbt_disent.types import Json

__all__ = ["MOST_BYTES", "MOST_PRODUCTS", "DecoderProgram", "decoder_program"]

MOST_BYTES = 6_000_000
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
    try:
        with torch.no_grad():
            program = torch.export.export(wrapped, (wrapped.begin(torch.zeros(1, len(model.latents))),))
    except (RuntimeError, ValueError, TypeError):  # what torch raises where a decoder asks for the values themselves
        return None
    compiled = compile_steps(program, [] if wrapped.first is None else wrapped.first.sizes)
    if compiled is None or compiled.products > MOST_PRODUCTS:
        return None
    half = _survives_halving(wrapped, len(model.latents))
    weights = np.concatenate([part.ravel() for part in compiled.weights] or [np.empty(0, np.float32)])
    content = weights.astype("<f2" if half else "<f4").tobytes()
    if len(content) > MOST_BYTES:
        return None
    return DecoderProgram(compiled.steps, content, half, compiled.products)


class _Decoder(nn.Module):
    """Codes to images (1, C, H, W) in 0 to 1, with torch's own layers in the place of faster ones of ours.

    Where the decoder takes classes as units, `first` makes these of codes; they are not part of what is exported.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = frozen_copy(objective)
        self.first = _take_out(self.objective)
        _replace(self.objective)

    def begin(self, codes: Tensor) -> Tensor:
        """Return what `forward` takes of codes (1, Z)."""
        return codes if self.first is None else self.first(codes)

    def forward(self, begun: Tensor) -> Tensor:
        return self.objective.decode(begun)


def _take_out(objective: nn.Module) -> ClassUnits | None:
    """Let an objective decode units of classes instead of codes, and return what makes them; none where none does."""
    for name, child in objective.named_children():
        if isinstance(child, ClassUnits):
            setattr(objective, name, nn.Identity())
            return child
    return None


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
        begun = decoder.begin(codes)
        return bool((decoder(begun) - halved(begun)).abs().max() <= _HALF_ERROR)
