"""`rooms`: a coloured solid in a coloured room, on the factor grid of 3D Shapes and in its index order.

The factors are those of 3D Shapes (Burgess and Kim 2018, github.com/deepmind/3d-shapes): hue of floor, wall and
object, scale, shape (cube, cylinder, sphere, capsule) and orientation, which turns the camera about the object by -30
to 30 degrees. The pictures are this package's own: each view of a solid is cast ray by ray once, then coloured.
"""

from __future__ import annotations

import colorsys

import numpy as np

from pbt_disent.data.base import Indices, as_indices
from pbt_disent.data.grid import FactorGrid, GridOption
from pbt_disent.data.renderers import RENDERERS
from pbt_disent.data.scene import cast
from pbt_disent.data.solids import SOLIDS
from pbt_disent.data.world import World
from pbt_disent.types import FloatArray, UInt8Array

__all__ = ["SIZES", "Rooms"]

SIZES = {"floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15}
VERSION = 1
PALETTE = np.array([colorsys.hsv_to_rgb(level / 10, 0.88, 1.0) for level in range(10)], np.float32)[:, :, None]
SCALES = np.linspace(0.75, 1.25, SIZES["scale"])
AZIMUTHS = np.radians(np.linspace(-30.0, 30.0, SIZES["orientation"]))


@RENDERERS.register("rooms")
class Rooms(World):
    """Pictures of a room, (3, H, W): floor hue, wall hue, object hue, scale, shape, orientation.

    Args:
        size: height and width of the images in pixels, 8 to 256.
        grid: the part of the grid to draw, as in `FactorGrid.restricted`.

    Raises:
        UserError: a size or a part of the grid that does not exist.
    """

    def __init__(self, size: int = 64, grid: GridOption | None = None) -> None:
        super().__init__("rooms", 3, size, FactorGrid.full(SIZES).restricted(grid or {}), version=VERSION)
        self._option = grid
        self._views: dict[tuple[int, int, int], FloatArray] = {}

    def __reduce__(self) -> tuple[type[Rooms], tuple[int, GridOption | None]]:
        return type(self), (self.shape[1], self._option)

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, 3, H, W); a view is cast when first asked for, and kept."""
        wanted = as_indices(indices, len(self))
        images = np.empty((len(wanted), *self.shape), dtype=np.uint8)
        picture = np.empty((3, self.shape[1] * self.shape[2]), dtype=np.float32)
        share = np.empty_like(picture)
        for image, levels in zip(
            images.reshape(len(images), *picture.shape), self.grid.published(wanted).tolist(), strict=True
        ):
            view = self.view(*levels[3:])
            picture[:] = view[3:]
            for material in range(3):
                picture += np.multiply(PALETTE[levels[material]], view[material], out=share)
            np.rint(np.minimum(picture, 255.0, out=picture), out=picture)
            image[:] = picture
        return images

    def view(self, scale: int, shape: int, orientation: int) -> FloatArray:
        """Return the six maps of `pbt_disent.data.scene.cast`, times 255, for published levels, (6, H * W)."""
        key = (scale, shape, orientation)
        if key not in self._views:
            solid = SOLIDS[shape](float(SCALES[scale]))
            self._views[key] = 255 * cast(solid, float(AZIMUTHS[orientation]), self.shape[1]).reshape(6, -1)
        return self._views[key]
