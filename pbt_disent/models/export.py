"""What other programs read of a trained model: codes as a parquet table, the encoder as a program of torch's own.

The program (``torch.export``) runs without this package, also from C++. The table is written a row group at a time, for
sets of images of any size.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from pbt_disent.data.base import ImageData
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.files import writing
from pbt_disent.models.contract import Objective
from pbt_disent.models.encoding import Encoded
from pbt_disent.models.latent_model import LatentModel, model_header
from pbt_disent.types import IntArray
from pbt_disent.units import shape_text

__all__ = [
    "DESCRIPTION",
    "TOLERANCE",
    "check_image_shape",
    "encode_images",
    "export_encoder",
    "frozen_copy",
    "write_codes",
]

DESCRIPTION = "encoder.json"
"""The file in the archive that names the latents, in order, and the shape of the images."""
TOLERANCE = 1e-4
"""Greatest difference between the codes of the model and of its program, in units of the largest code."""
READ = 1024
"""Images that are read at a time."""
ROWS = 16_384
"""Rows of a row group, which is what is kept in memory beside one batch of images."""

_COMPARED_BATCHES = (1, 5)
"""Sizes of the batches that are compared; the program takes any."""

Progress = Callable[[int, int], None]
"""Called with the number of images that are done and that of all images."""


def check_image_shape(model: LatentModel, data: ImageData) -> None:
    """Refuse images of another shape than the model takes.

    Raises:
        UserError: The images have another size or number of channels.
    """
    if tuple(data.shape) == model.image_shape:
        return
    actual, expected = (shape_text(shape) for shape in (data.shape, model.image_shape))
    channels, height, width = model.image_shape
    resizable = data.shape[0] == channels and height == width
    remedy = f"resize them with --set size={height}" if resizable else "convert them first"
    raise UserError(f"data {data.name} of {actual}", f"must be {expected}, which the model takes", remedy)


def encode_images(
    model: LatentModel, data: ImageData, indices: IntArray, progress: Progress | None = None
) -> npt.NDArray[np.float32]:
    """Return the codes of some images of a set, (N, Z), of which only a few are in memory at a time.

    Args:
        model: The model that encodes.
        data: The images, of the shape that the model takes.
        indices: Which images are encoded, (N,), at least one.
        progress: Called with the number of images that are done and that of all images.
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
    progress: Progress | None = None,
) -> None:
    """Write a row for each image: ``index``, a column for each latent by name, and ``log_sigma_<name>`` on request.

    Args:
        model: The model that encodes.
        data: The images, of the shape that the model takes.
        path: The path of the table, which is there as a whole or not at all.
        batch: The number of images at a time.
        log_sigma: Whether to write the log standard deviations too.
        progress: Called with the number of images that are done and that of all images.

    Raises:
        UserError: The images have another shape, the model has no standard deviations, or the path cannot be written.
    """
    check_image_shape(model, data)
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
                indices = np.arange(start, min(start + batch, last))
                parts.append(_columns(model.posterior(data.images(indices), batch), log_sigma))
                if progress:
                    progress(int(indices[-1]) + 1, len(data))
            values = np.concatenate(parts)
            arrays = [pa.array(np.arange(first, last)), *(pa.array(column) for column in values.T)]
            file.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _columns(encoded: Encoded, log_sigma: bool) -> npt.NDArray[np.float32]:
    if not log_sigma:
        return encoded.codes
    if encoded.log_sigma is None:
        raise UserError("--log-sigma", "needs a model with standard deviations, which this one has not", "leave it out")
    return np.concatenate([encoded.codes, encoded.log_sigma], axis=1)


def export_encoder(model: LatentModel) -> tuple[bytes, float]:
    """Return the encoder as a ``.pt2`` archive: images (B, C, H, W) uint8 in, codes (B, Z) float32 out, any B.

    The archive is loaded again and compared with the model. `torch.export.load` gives the program back, and with
    ``extra_files={"encoder.json": ""}`` the names of the latents.

    Args:
        model: The trained model.

    Returns:
        The archive, and the greatest difference between its codes and the model's, in units of the largest code.

    Raises:
        PbtDisentError: The program gives other codes than the model.
    """
    generator = torch.Generator().manual_seed(0)
    batches = [
        torch.randint(0, 256, (size, *model.image_shape), dtype=torch.uint8, generator=generator)
        for size in _COMPARED_BATCHES
    ]
    shapes = {"images": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(_Encoder(model.objective).eval(), (batches[-1],), dynamic_shapes=shapes)
    program.example_inputs = None  # else they would be the one pickled file in the archive
    header = {**model_header(model.objective), "latents": model.latents}
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={DESCRIPTION: json.dumps(header, sort_keys=True)})
    difference = max(_difference(model, archive, batch) for batch in batches)
    if not difference <= TOLERANCE:
        raise PbtDisentError(f"the exported encoder differs from the model by {difference:.1e} of the largest code")
    return archive.getvalue(), difference


def _difference(model: LatentModel, archive: io.BytesIO, batch: Tensor) -> float:
    expected = model.encode(batch.numpy())
    archive.seek(0)
    actual = torch.export.load(archive).module()(batch).numpy()
    return float(np.abs(actual - expected).max() / max(1.0, float(np.abs(expected).max())))


class _Encoder(nn.Module):
    """Images (B, C, H, W) uint8 to codes (B, Z) float32."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = frozen_copy(objective)
        for parameter in self.objective.parameters():  # the archive holds plain arrays only
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        return self.objective.represent(images.to(torch.float32).div(255)).mean


def frozen_copy(objective: Objective) -> Objective:
    """Return a copy on the CPU whose own counters are numbers, since an export cannot branch on what a tensor holds."""
    copied = copy.deepcopy(objective).cpu()
    for name, buffer in list(copied.named_buffers(recurse=False)):
        if buffer.dim() == 0 and not buffer.is_floating_point():
            delattr(copied, name)
            setattr(copied, name, int(buffer))
    return copied
