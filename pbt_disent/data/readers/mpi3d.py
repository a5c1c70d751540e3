"""MPI3D (Gondal et al. 2019, arXiv 1906.03292) from its npz files: toy, realistic, real and complex, by their length.

The digests are those in disent (disent/dataset/data/_groundtruth__mpi3d.py); of the real complex set there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pbt_disent.data.array_files import npz_keys, npz_rows, npz_shape
from pbt_disent.data.array_images import ArrayImages
from pbt_disent.data.base import ImageData
from pbt_disent.data.grid import FactorGrid
from pbt_disent.data.readers import READERS, Cache, Match, PublishedFile, Reader
from pbt_disent.data.source_files import READ_ERRORS, file_fingerprint
from pbt_disent.errors import UserError

__all__ = ["GRIDS", "Mpi3d"]


def _grid(num_colours: int, num_shapes: int) -> FactorGrid:
    return FactorGrid.full(
        {
            "object_color": num_colours,
            "object_shape": num_shapes,
            "object_size": 2,
            "camera_height": 3,
            "background_color": 3,
            "horizontal_axis": 40,
            "vertical_axis": 40,
        }
    )


GRIDS = {len(grid): grid for grid in (_grid(6, 6), _grid(4, 4))}
"""By number of images: toy, realistic and real have 6 colours and 6 shapes; real complex has 4 of each."""


@READERS.register("mpi3d")
class Mpi3d(Reader):
    """The images of an MPI3D file, (3, 64, 64) in the published ones."""

    formats = "MPI3D npz"
    published_files: ClassVar[Mapping[str, PublishedFile]] = {
        "mpi3d_toy.npz": PublishedFile("disent", "55889cb7c7dfc655d6e0277beee88868", "md5", has_variants=True),
        "mpi3d_realistic.npz": PublishedFile("disent", "59a6225b88b635365f70c91b3e52f70f", "md5", has_variants=True),
        "mpi3d_real.npz": PublishedFile("disent", "0f33f609918fb5c97996692f91129802", "md5", has_variants=True),
    }

    cache: Cache = None

    @classmethod
    def match(cls, path: Path) -> Match:
        """Know the file by its one array and that array's length."""
        if path.suffix != ".npz":
            return Match.NO
        try:
            is_known = "images" in npz_keys(path) and npz_shape(path, "images")[0] in GRIDS
        except READ_ERRORS:
            is_known = False
        return Match.SET if is_known else Match.NO

    def read(self, path: Path) -> ImageData:
        """See `Reader.read`."""
        rows = npz_rows(path, "images", self.cache)
        length = rows.shape[0]
        if length not in GRIDS:
            lengths = " or ".join(f"{length:,}" for length in sorted(GRIDS))
            raise UserError(f"file {path}", f"holds {length:,} images, MPI3D {lengths}", "download it again")
        name = "mpi3d" if length == max(GRIDS) else "mpi3d-complex"
        return ArrayImages(name, file_fingerprint(path), rows, factors=GRIDS[length], layout="hwc", stretch=1)
