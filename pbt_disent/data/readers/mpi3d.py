"""MPI3D (Gondal et al. 2019) from its npz files: toy, realistic, real and complex, told apart by their length."""

from __future__ import annotations

from pathlib import Path

from pbt_disent.data.arrays import ArrayImages
from pbt_disent.data.base import ImageData
from pbt_disent.data.damage import DAMAGE
from pbt_disent.data.fingerprint import file_fingerprint
from pbt_disent.data.grid import FactorGrid
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.rows import npz_keys, npz_rows, npz_shape
from pbt_disent.errors import UserError

__all__ = ["GRIDS", "open_mpi3d"]


def _grid(colours: int, shapes: int) -> FactorGrid:
    return FactorGrid.full(
        {
            "object_color": colours,
            "object_shape": shapes,
            "object_size": 2,
            "camera_height": 3,
            "background_color": 3,
            "horizontal_axis": 40,
            "vertical_axis": 40,
        }
    )


GRIDS = {len(grid): grid for grid in (_grid(6, 6), _grid(4, 4))}
"""By number of images: toy, realistic and real have 6 colours and 6 shapes; real complex has 4 of each."""


def match(path: Path) -> Match:
    """Know the file by its one array and that array's length."""
    if path.suffix != ".npz":
        return Match.NO
    try:
        known = "images" in npz_keys(path) and npz_shape(path, "images")[0] in GRIDS
    except DAMAGE:
        known = False
    return Match.SET if known else Match.NO


def open_mpi3d(path: Path, cache: Path | str | None = None) -> ImageData:
    """Return the images of an MPI3D file, (3, 64, 64) in the published ones.

    Args:
        path: the npz file.
        cache: folder for the unpacked images where the npz is compressed.

    Raises:
        UserError: the file does not have the length of any of the sets.
    """
    rows = npz_rows(path, "images", cache)
    if rows.shape[0] not in GRIDS:
        lengths = " or ".join(f"{length:,}" for length in sorted(GRIDS))
        raise UserError(f"file {path}", f"holds {rows.shape[0]:,} images, MPI3D {lengths}", "download it again")
    name = "mpi3d" if rows.shape[0] == max(GRIDS) else "mpi3d-complex"
    return ArrayImages(name, file_fingerprint(path), rows, factors=GRIDS[rows.shape[0]], layout="hwc", stretch=1)


READERS.register("mpi3d")(Reader("MPI3D npz", match, open_mpi3d))
