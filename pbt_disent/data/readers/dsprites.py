"""dSprites (Matthey et al. 2017) from its npz or HDF5 file, also in colour or on noise as in disentanglement_lib.

The official npz pickles its `metadata`, which is not read. Factors come from index arithmetic on the order that the
authors publish; of a file with fewer images they come from `latents_classes`. The digest of the HDF5 file is that of
TensorFlow Datasets (tensorflow_datasets/url_checksums), that of the npz Latte's (latte/dataset/dsprites.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import h5py
import numpy as np
import numpy.typing as npt
from pydantic import Field

from pbt_disent.data.array_files import Hdf5Rows, npz_keys, npz_rows, read_npz
from pbt_disent.data.array_images import ArrayImages
from pbt_disent.data.base import ImageData, Indices, as_indices, fingerprint_of
from pbt_disent.data.grid import FactorGrid, published_factors
from pbt_disent.data.readers import READERS, Cache, Match, PublishedFile, Reader
from pbt_disent.data.source_files import READ_ERRORS, file_fingerprint
from pbt_disent.errors import UserError
from pbt_disent.seeds import indexed_uniform
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["GRID", "Dsprites"]

GRID = FactorGrid.full({"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32})
DARKEST_COLOUR = 0.5
VARIANT_VERSION = 1
"""The version of the colours and the noise. It changes whenever a pixel does."""


@READERS.register("dsprites")
class Dsprites(Reader):
    """The images of a dSprites file, (1, 64, 64), or (3, 64, 64) in colour or on noise."""

    formats = "dSprites npz or hdf5"
    published_files: ClassVar[Mapping[str, PublishedFile]] = {
        "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5": PublishedFile(
            "TensorFlow Datasets",
            "729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb",
            length=28_024_106,
        ),
        "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz": PublishedFile(
            "Latte", "7da33b31b13a06f4b04a70402ce90c2e", "md5"
        ),
    }

    variant: Literal["binary", "color", "noisy"] = Field(
        "binary",
        description=(
            "White sprites (binary), each sprite in a colour of its own (color), or on uniform noise (noisy). Colours "
            "and noise are always the same for an index."
        ),
    )
    seed: int = Field(0, ge=0, description="The seed of the colours and the noise.")
    cache: Cache = None

    @classmethod
    def match(cls, path: Path) -> Match:
        """Know the file by the names of its arrays."""
        try:
            if path.suffix == ".npz":
                is_known = {"imgs", "latents_classes"} <= set(npz_keys(path))
            elif path.suffix in (".h5", ".hdf5"):
                with h5py.File(path, "r") as file:
                    is_known = "imgs" in file and "latents/classes" in file
            else:
                is_known = False
        except READ_ERRORS:  # a UserError is a ValueError
            is_known = False
        return Match.SET if is_known else Match.NO

    def read(self, path: Path) -> ImageData:
        """See `Reader.read`."""
        rows = npz_rows(path, "imgs", self.cache) if path.suffix == ".npz" else Hdf5Rows(path, "imgs")
        ids = self.file_factors(path) if rows.shape[0] != len(GRID) else None
        data = ArrayImages(
            "dsprites",
            file_fingerprint(path),
            rows,
            factors=published_factors(str(path), GRID, rows.shape[0], ids),
            factor_names=GRID.names,
            factor_sizes=GRID.sizes,
            layout="hw",
            stretch=255,
        )
        return data if self.variant == "binary" else _ColouredImages(data, self.variant, self.seed)

    @classmethod
    def file_factors(cls, path: Path) -> IntArray:
        """Return the class ids (N, 5) that the file holds, without the colour, which is always white."""
        if path.suffix == ".npz":
            classes = read_npz(path, "latents_classes")
        else:
            rows = Hdf5Rows(path, "latents/classes")
            classes = rows.read(np.arange(rows.shape[0]))
        if classes.ndim != 2 or classes.shape[1] != 1 + len(GRID.names):
            raise UserError(f"latents_classes of {path}", f"has shape {classes.shape}, not N x 6", "download it again")
        return np.asarray(classes[:, 1:], dtype=np.int64)


class _ColouredImages:
    """A view of grey images (1, H, W) as RGB images (3, H, W), the same each time for an index.

    Args:
        data: The grey images.
        variant: ``color`` multiplies each image by a colour with channels uniform in 0.5 to 1; ``noisy`` adds noise
            uniform in 0 to 1 to each channel of each pixel and cuts at white.
        seed: The seed of the colours or the noise.
    """

    def __init__(self, data: ImageData, variant: Literal["color", "noisy"], seed: int) -> None:
        self._data, self._variant, self._seed = data, variant, seed
        self.name = f"{data.name}-{variant}"
        self.fingerprint = fingerprint_of(
            {"of": data.fingerprint, "how": variant, "seed": seed, "version": VARIANT_VERSION}
        )
        self.shape = (3, *data.shape[1:])
        self.factor_names = data.factor_names
        self.factor_sizes = data.factor_sizes

    def __len__(self) -> int:
        return len(self._data)

    def factors(self, indices: Indices) -> IntArray | None:
        """Return the class ids at `indices`, (N, K), or None."""
        return self._data.factors(indices)

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, 3, H, W)."""
        indices = as_indices(indices, len(self))
        grey = self._data.images(indices).astype(np.float32)
        if self._variant == "color":
            coloured = grey * self._uniform(indices, (3, 1, 1), DARKEST_COLOUR, 1.0)
        else:
            coloured = np.minimum(grey + self._uniform(indices, self.shape, 0.0, 255.0), 255.0)
        return np.asarray(np.rint(coloured), dtype=np.uint8)

    def _uniform(
        self, indices: npt.NDArray[np.int64], shape: tuple[int, int, int], low: float, high: float
    ) -> npt.NDArray[np.float32]:
        """Return random numbers (N, *shape) from `low` to `high` that belong to each index."""
        count = int(np.prod(shape))
        positions = indices[:, None] * count + np.arange(count)
        numbers = indexed_uniform(positions, self._variant, self._seed).reshape(len(indices), *shape)
        return (low + (high - low) * numbers).astype(np.float32)
