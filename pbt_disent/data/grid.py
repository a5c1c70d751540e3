"""Index arithmetic of a factor grid: every combination of factor values once, the last factor fastest."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pbt_disent.data.base import Indices, as_indices
from pbt_disent.errors import UserError, nearest
from pbt_disent.types import IntArray

__all__ = ["FactorGrid", "GridOption", "published_factors"]

GridOption = Mapping[str, int | Sequence[int]]
"""Per factor a number of levels, spread evenly over the published ones, or the list of levels to keep."""


@dataclass(frozen=True)
class FactorGrid:
    """A grid of factors, or the part of a published grid that keeps some levels of each factor.

    Attributes:
        names: The names of the K factors, slowest first.
        levels: For each factor the published levels that the grid keeps, in order.

    Example:
        >>> grid = FactorGrid.full({"shape": 3, "x": 32}).restricted({"x": 4})
        >>> grid.sizes, len(grid)
        ((3, 4), 12)
        >>> grid.factors([5]).tolist(), grid.published([5]).tolist()
        ([[1, 1]], [[1, 10]])
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
        return tuple(len(levels) for levels in self.levels)

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def factors(self, indices: Indices) -> IntArray:
        """Return the class ids at `indices`, (N, K), counted within the kept levels."""
        return np.stack(np.unravel_index(as_indices(indices, len(self)), self.sizes), axis=1)

    def published(self, indices: Indices) -> IntArray:
        """Return the published levels at `indices`, (N, K)."""
        ids = self.factors(indices)
        return np.stack([np.asarray(levels)[ids[:, k]] for k, levels in enumerate(self.levels)], axis=1)

    def restricted(self, option: GridOption, closed: Collection[str] = ()) -> FactorGrid:
        """Return the part of this grid that `option` asks for.

        A number n keeps n levels spread evenly from the first to the last (one: the middle level). For a factor in
        `closed`, whose last level repeats the first, it keeps n distinct levels spread evenly over the circle.

        Args:
            option: The levels to keep of each factor; factors that are not named keep all.
            closed: The names of the factors that form a circle.

        Raises:
            UserError: A factor or a level does not exist, or there are too many or too few levels.
        """
        if not isinstance(option, Mapping):
            raise UserError(
                f"grid {option!r}", "must give levels by factor", "write for example grid={x: 4, shape: [0, 2]}"
            )
        for name in option:
            if name not in self.names:
                raise UserError(f"grid factor {name!r}", "is no factor of this set", nearest(name, self.names))
        return FactorGrid(
            self.names,
            tuple(
                _kept_levels(name, levels, option[name], name in closed) if name in option else levels
                for name, levels in zip(self.names, self.levels, strict=True)
            ),
        )


def published_factors(name: str, grid: FactorGrid, length: int, ids: IntArray | None) -> FactorGrid | IntArray:
    """Return the factors of a published set: index arithmetic for the whole set, the file's own ids for a part of it.

    Args:
        name: The name of the file, for messages.
        grid: The published grid.
        length: The number of images in the file.
        ids: The class ids (N, K) in the file, which a whole set does not need.

    Raises:
        UserError: The file holds a part of the set without ids, or with ids that the grid does not have.
    """
    if length == len(grid):
        return grid
    if ids is None:
        raise UserError(
            f"file {name}",
            f"holds {length} images, the published set {len(grid)}",
            "download it again, or name a reader",
        )
    if ids.shape != (length, len(grid.names)):
        raise UserError(
            f"labels of {name}",
            f"have shape {ids.shape} for {length} images and {len(grid.names)} factors",
            "repair them",
        )
    if length and (ids.min() < 0 or (ids.max(axis=0) >= grid.sizes).any()):
        raise UserError(f"labels of {name}", f"go beyond the published {grid.sizes} values", "repair them")
    return ids


def _kept_levels(name: str, levels: tuple[int, ...], option: int | Sequence[int], is_closed: bool) -> tuple[int, ...]:
    if isinstance(option, int) and not isinstance(option, bool):
        return tuple(levels[index] for index in _spread(name, len(levels), option, is_closed))
    if isinstance(option, bool | str) or not isinstance(option, Sequence):
        raise UserError(f"grid {name}={option!r}", "must be a number or a list of levels", "give 4 or [0, 2, 4], say")
    for level in option:
        if level not in levels:
            raise UserError(f"grid {name}={level}", "is no level of this factor", f"choose from 0 to {levels[-1]}")
    if not option or len(set(option)) != len(option):
        raise UserError(f"grid {name}={list(option)}", "must name at least one level, each once", "remove the others")
    return tuple(option)


def _spread(name: str, size: int, count: int, is_closed: bool) -> list[int]:
    """Return `count` indices below `size`, spread evenly."""
    if not 1 <= count <= size:
        raise UserError(f"grid {name}={count}", f"must be 1 to {size}", "ask for fewer levels")
    if count == size:
        return list(range(size))
    if is_closed:
        return [math.floor(i * (size - 1) / count + 0.5) for i in range(count)]
    if count == 1:
        return [size // 2]
    return [math.floor(i * (size - 1) / (count - 1) + 0.5) for i in range(count)]
