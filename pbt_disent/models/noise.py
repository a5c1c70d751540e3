"""Random numbers of one model, or of k models that are stacked, each from its own generator.

A stacked model gets the very numbers that it would get alone: within `torch.vmap` a draw leaves the batched world,
asks each model's generator in turn, and comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = ["Generators", "normal", "uniform"]

Distribution = Literal["normal", "uniform"]


class Generators(torch.Generator):
    """Stands for the generators of k stacked models, wherever one generator is asked for.

    Attributes:
        members: The generator of each model, in order.
    """

    members: tuple[torch.Generator, ...]

    @classmethod
    def of(cls, members: Sequence[torch.Generator]) -> Generators:
        """Let one generator, which is never drawn from, stand for those of k models."""
        generators = cls()
        generators.members = tuple(members)
        return generators


def normal(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw from N(0, 1).

    >>> normal((2,), torch.Generator().manual_seed(0), torch.zeros(()))
    tensor([ 1.5410, -0.2934])

    Args:
        shape: The shape of what is drawn, for one model.
        generator: The generator of one model, or `Generators`.
        like: A tensor with the type and device of the result, which depends on the model's parameters.
    """
    return _draw("normal", shape, generator, like)


def uniform(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw from the uniform distribution on 0 to 1; see `normal`."""
    return _draw("uniform", shape, generator, like)


def _draw(distribution: Distribution, shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    if isinstance(generator, Generators):
        return _draw_for_each(like, distribution, tuple(shape), generator)
    draw = torch.randn if distribution == "normal" else torch.rand
    return draw(tuple(shape), generator=generator, device=like.device, dtype=like.dtype)


class _DrawForEach(torch.autograd.Function):
    """The way out of `torch.vmap`: its rule for this function gets all models at once."""

    @staticmethod
    def forward(like: Tensor, distribution: Distribution, shape: tuple[int, ...], generators: Generators) -> Tensor:
        raise RuntimeError("numbers for several models can only be drawn where the models are stacked")

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is differentiated."""

    @staticmethod
    def vmap(
        info: Any,
        dims: tuple[Any, ...],
        like: Tensor,
        distribution: Distribution,
        shape: tuple[int, ...],
        generators: Generators,
    ) -> tuple[Tensor, int]:
        return torch.stack([_draw(distribution, shape, generator, like) for generator in generators.members]), 0


_draw_for_each: Callable[[Tensor, Distribution, tuple[int, ...], Generators], Tensor] = _DrawForEach.apply
