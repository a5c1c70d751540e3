"""What all rendered worlds share: a factor grid, square images, an identity that follows from how they are drawn."""

from __future__ import annotations

from pbt_disent.data.base import Indices, fingerprint_of
from pbt_disent.data.grid import FactorGrid
from pbt_disent.errors import UserError
from pbt_disent.types import IntArray

__all__ = ["World"]


class World:
    """A world that draws its images when asked for them; the renderer adds `images`.

    Args:
        name: of the renderer.
        channels: C, 1 or 3.
        size: height and width of the images in pixels, 8 to 256.
        grid: what is drawn.
        drawing: whatever else the pixels depend on.

    Raises:
        UserError: another size.
    """

    def __init__(self, name: str, channels: int, size: int, grid: FactorGrid, **drawing: int) -> None:
        if not isinstance(size, int) or not 8 <= size <= 256:
            raise UserError(f"{name} size {size}", "must be 8 to 256 pixels", "use 64, as published, or 32")
        self.name = name
        self.grid = grid
        self.shape = (channels, size, size)
        self.factor_names = grid.names
        self.factor_sizes = grid.sizes
        self.fingerprint = fingerprint_of({"renderer": name, "size": size, "levels": grid.levels, **drawing})

    def __len__(self) -> int:
        return len(self.grid)

    def factors(self, indices: Indices) -> IntArray:
        """Return the class ids at `indices`, (N, K), within the drawn grid."""
        return self.grid.factors(indices)
