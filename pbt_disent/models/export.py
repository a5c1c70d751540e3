"""The encoder as a program of torch's own (``torch.export``), which runs without this package, also from C++."""

from __future__ import annotations

import copy
import io
import json

import numpy as np
import torch
from torch import Tensor, nn

from pbt_disent.errors import PbtDisentError
from pbt_disent.models.contract import Objective
from pbt_disent.models.latent_model import LatentModel, describe

__all__ = ["DESCRIPTION", "TOLERANCE", "export_encoder", "frozen_copy"]

DESCRIPTION = "encoder.json"
"""The file in the archive that names the latents, in order, and the shape of the images."""
TOLERANCE = 1e-4
"""Greatest difference between the codes of the model and of its program, in units of the largest code."""
_CHECKED = (1, 5)
"""Sizes of the batches that are compared; the program takes any."""


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


def export_encoder(model: LatentModel) -> tuple[bytes, float]:
    """Return the encoder as a ``.pt2`` archive: images (B, C, H, W) uint8 in, codes (B, Z) float32 out, any B.

    The archive is loaded again and compared with the model. `torch.export.load` gives the program back, and with
    ``extra_files={"encoder.json": ""}`` the names of the latents.

    Args:
        model: a trained model.

    Returns:
        The archive, and the greatest difference between its codes and the model's, in units of the largest code.

    Raises:
        PbtDisentError: the program gives other codes than the model.
    """
    generator = torch.Generator().manual_seed(0)
    batches = [
        torch.randint(0, 256, (size, *model.image_shape), dtype=torch.uint8, generator=generator) for size in _CHECKED
    ]
    shapes = {"images": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(_Encoder(model.objective).eval(), (batches[-1],), dynamic_shapes=shapes)
    program.example_inputs = None  # else they would be the one pickled file in the archive
    header = {**describe(model.objective), "latents": model.latents}
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={DESCRIPTION: json.dumps(header, sort_keys=True)})
    difference = max(_difference(model, archive, batch) for batch in batches)
    if not difference <= TOLERANCE:
        raise PbtDisentError(f"the exported encoder differs from the model by {difference:.1e} of the largest code")
    return archive.getvalue(), difference


def _difference(model: LatentModel, archive: io.BytesIO, batch: Tensor) -> float:
    expected = model.encode(batch.numpy())
    archive.seek(0)
    found = torch.export.load(archive).module()(batch).numpy()
    return float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
