"""Encode a set of images of any size to a parquet table, a row group at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pbt_disent.data.base import ImageData
from pbt_disent.errors import UserError
from pbt_disent.files import writing
from pbt_disent.models.encoding import Encoded
from pbt_disent.models.latent_model import LatentModel
from pbt_disent.types import IntArray

__all__ = ["check_fit", "codes_of", "write_codes"]

READ = 1024
"""Images that are read at a time."""
ROWS = 16_384
"""Rows of a row group, which is what is kept in memory beside one batch of images."""


def check_fit(model: LatentModel, data: ImageData) -> None:
    """Refuse images of another shape than the model takes.

    Raises:
        UserError: another size or number of channels.
    """
    if tuple(data.shape) == model.image_shape:
        return
    given, wanted = ("x".join(map(str, shape)) for shape in (data.shape, model.image_shape))
    channels, height, width = model.image_shape
    resizable = data.shape[0] == channels and height == width
    remedy = f"resize them with --set size={height}" if resizable else "convert them first"
    raise UserError(f"data {data.name} of {given}", f"must be {wanted}, which the model takes", remedy)


def codes_of(
    model: LatentModel, data: ImageData, indices: IntArray, progress: Callable[[int, int], None] | None = None
) -> npt.NDArray[np.float32]:
    """Return the codes (N, Z) of some images, of which only a few are in memory at a time.

    Args:
        model: the encoder.
        data: images of the shape that it takes.
        indices: (N,) which of them; at least one.
        progress: called with images done and images in all.
    """
    parts = []
    for start in range(0, len(indices), READ):
        part = indices[start : start + READ]
        parts.append(model.encode(data.images(part)))
        if progress:
            progress(start + len(part), len(indices))
    return np.concatenate(parts)


def write_codes(
    model: LatentModel,
    data: ImageData,
    path: Path,
    *,
    batch: int = 256,
    log_sigma: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a row per image: ``index``, a column per latent by name, and ``log_sigma_<name>`` if asked for.

    Args:
        model: the encoder.
        data: N images.
        path: of the table, which is there as a whole or not at all.
        batch: images at a time.
        log_sigma: whether to write the log standard deviations too.
        progress: called with images done and images in all.

    Raises:
        UserError: images of another shape, a model without standard deviations, or a path that cannot be written.
    """
    check_fit(model, data)
    if path.is_dir():
        raise UserError(f"file {path}", "is a folder", "give the path of a file")
    names = [*model.latents, *(f"log_sigma_{name}" for name in model.latents if log_sigma)]
    schema = pa.schema([("index", pa.int64()), *((name, pa.float32()) for name in names)])
    size = len(data) * (8 + 4 * len(names))
    with writing(path, size) as temporary, pq.ParquetWriter(temporary, schema) as file:
        for first in range(0, len(data), ROWS):
            last = min(first + ROWS, len(data))
            parts = []
            for start in range(first, last, batch):
                chosen = np.arange(start, min(start + batch, last))
                parts.append(_columns(model.posterior(data.images(chosen), batch), log_sigma))
                if progress:
                    progress(int(chosen[-1]) + 1, len(data))
            values = np.concatenate(parts)
            arrays = [pa.array(np.arange(first, last)), *(pa.array(column) for column in values.T)]
            file.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _columns(seen: Encoded, log_sigma: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if not log_sigma:
        return seen.codes
    if seen.log_sigma is None:
        raise UserError("--log-sigma", "needs a model with standard deviations, which this one has not", "leave it out")
    return np.concatenate([seen.codes, seen.log_sigma], axis=1)
