"""Worlds drawn by the package itself, one file each: nothing to download, every factor known.

A world is a component: a class derived from `World` whose fields are its options. Its instance is the set of images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Annotated, ClassVar, Self

from pydantic import Field, SkipValidation, model_validator

from pbt_disent.data.base import Indices, fingerprint_of
from pbt_disent.data.grid import FactorGrid, GridOption
from pbt_disent.registry import Component, Registry
from pbt_disent.types import IntArray, Json, UInt8Array

__all__ = ["WORLDS", "World"]


class World(Component):
    """Images that are drawn when they are asked for, one for each point of a factor grid.

    Attributes:
        full_grid: The grid of all images that the world can draw.
        closed_factors: The names of the factors whose last level repeats the first.
        channels: The number of channels C of the images, 1 or 3.
        version: The version of the drawing. It changes whenever a pixel does.
    """

    full_grid: ClassVar[FactorGrid]
    closed_factors: ClassVar[tuple[str, ...]] = ()
    channels: ClassVar[int]
    version: ClassVar[int] = 1

    size: int = Field(64, ge=8, le=256, description="The height and width of the images in pixels.")
    grid: Annotated[GridOption | None, SkipValidation] = Field(
        None,
        description="The part of the factor grid to draw: for each factor the number of levels or the list of levels.",
    )

    @model_validator(mode="after")
    def _check_grid(self) -> Self:
        _ = self.factor_grid  # raises where the option does not fit
        return self

    @cached_property
    def factor_grid(self) -> FactorGrid:
        """The part of the grid that is drawn."""
        return self.full_grid.restricted({} if self.grid is None else self.grid, closed=self.closed_factors)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one image."""
        return self.channels, self.size, self.size

    @property
    def factor_names(self) -> tuple[str, ...]:
        """The names of the K factors."""
        return self.factor_grid.names

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """The number of drawn levels of each factor."""
        return self.factor_grid.sizes

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal identity of the images, which follows from how they are drawn."""
        drawing = {"renderer": self.name, "size": self.size, "levels": self.factor_grid.levels, "version": self.version}
        return fingerprint_of({**drawing, **self._drawing_options()})

    def _drawing_options(self) -> Json:
        """Return what the pixels depend on besides size and grid: all other options."""
        return {key: value for key, value in self.dump().items() if key not in ("name", "size", "grid")}

    def __len__(self) -> int:
        return len(self.factor_grid)

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        """Pickle the options alone, so that what was drawn does not travel to worker processes."""
        return partial(type(self), **{field: getattr(self, field) for field in type(self).model_fields}), ()

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, C, H, W) in 0 to 255."""
        raise NotImplementedError

    def factors(self, indices: Indices) -> IntArray:
        """Return the class ids at `indices`, (N, K), within the drawn grid."""
        return self.factor_grid.factors(indices)


WORLDS: Registry[type[World]] = Registry("world", __name__)
