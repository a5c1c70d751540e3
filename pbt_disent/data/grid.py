"""Index arithmetic of a factor grid: every combination of factor values once, the last factor fastest."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pbt_disent.data.base import Indices, as_indices
from pbt_disent.errors import UserError, nearest
from pbt_disent.types import IntArray

__all__ = ["FactorGrid", "GridOption"]

GridOption = Mapping[str, int | Sequence[int]]
"""Per factor a number of levels, spread evenly over the published ones, or the list of levels to keep."""


@dataclass(frozen=True)
class FactorGrid:
    """A grid of factors, or the part of a published grid that keeps some levels of each factor.

    Attributes:
        names: the K factors, slowest first.
        levels: per factor the published levels that the grid keeps, in order.
    """

    names: tuple[str, ...]
    levels: tuple[tuple[int, ...], ...]

    @classmethod
    def full(cls, sizes: Mapping[str, int]) -> FactorGrid:
        """Return the whole grid with these factors, slowest first, and numbers of levels."""
        return cls(tuple(sizes), tuple(tuple(range(size)) for size in sizes.values()))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of kept levels of each factor."""
        return tuple(len(kept) for kept in self.levels)

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def factors(self, indices: Indices) -> IntArray:
        """Return the class ids at `indices`, (N, K), counted within the kept levels."""
        return np.stack(np.unravel_index(as_indices(indices, len(self)), self.sizes), axis=1)

    def published(self, indices: Indices) -> IntArray:
        """Return the published levels at `indices`, (N, K)."""
        ids = self.factors(indices)
        return np.stack([np.asarray(kept)[ids[:, k]] for k, kept in enumerate(self.levels)], axis=1)

    def restricted(self, option: GridOption, closed: Collection[str] = ()) -> FactorGrid:
        """Return the part of this grid that `option` asks for.

        A number n keeps n levels spread evenly from the first to the last (one: the middle level). For a factor in
        `closed`, whose last level repeats the first, it keeps n distinct levels spread evenly over the circle.

        Raises:
            UserError: a factor that does not exist, too many or too few levels, a level that does not exist.
        """
        if not isinstance(option, Mapping):
            raise UserError(f"grid {option!r}", "must give levels by factor", "say grid={x: 4, shape: [0, 2]}, say")
        for name in option:
            if name not in self.names:
                raise UserError(f"grid factor {name!r}", "is no factor of this set", nearest(name, self.names))
        return FactorGrid(
            self.names,
            tuple(
                _kept(name, kept, option[name], name in closed) if name in option else kept
                for name, kept in zip(self.names, self.levels, strict=True)
            ),
        )


def _kept(name: str, levels: tuple[int, ...], wanted: int | Sequence[int], closed: bool) -> tuple[int, ...]:
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        return tuple(levels[place] for place in _spread(name, len(levels), wanted, closed))
    if isinstance(wanted, bool | str) or not isinstance(wanted, Sequence):
        raise UserError(f"grid {name}={wanted!r}", "must be a number or a list of levels", "give 4 or [0, 2, 4], say")
    chosen = tuple(wanted)
    for level in chosen:
        if level not in levels:
            raise UserError(f"grid {name}={level}", "is no level of this factor", f"choose from 0 to {levels[-1]}")
    if not chosen or len(set(chosen)) != len(chosen):
        raise UserError(f"grid {name}={list(chosen)}", "must name at least one level, each once", "remove the others")
    return chosen


def _spread(name: str, size: int, wanted: int, closed: bool) -> list[int]:
    if not 1 <= wanted <= size:
        raise UserError(f"grid {name}={wanted}", f"must be 1 to {size}", "ask for fewer levels")
    if wanted == size:
        return list(range(size))
    if closed:
        return [math.floor(i * (size - 1) / wanted + 0.5) for i in range(wanted)]
    if wanted == 1:
        return [size // 2]
    return [math.floor(i * (size - 1) / (wanted - 1) + 0.5) for i in range(wanted)]
