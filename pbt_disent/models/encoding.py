"""Encode many images: in evaluation mode, in batches of one size, straight from uint8 in a memory map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pbt_disent.models.contract import Objective
from pbt_disent.types import IntArray

__all__ = ["Encoded", "encode", "to_unit"]

CPU_BATCH, GPU_BATCH = 64, 256
"""Images at a time. At 64x64 the maps of 256 are so large that a CPU gets new pages of memory for each batch."""


@dataclass(frozen=True)
class Encoded:
    """What a model says about N images.

    Args:
        codes: (N, Z) posterior means.
        log_sigma: (N, Z) log standard deviations, or none where the encoder has none.
        information: (Z,) nats per latent, averaged over the images.
    """

    codes: npt.NDArray[np.float32]
    log_sigma: npt.NDArray[np.float32] | None
    information: npt.NDArray[np.float64]


def to_unit(images: npt.NDArray[Any], device: torch.device | str) -> Tensor:
    """Return images as a float32 tensor in 0 to 1 on a device; uint8 is moved first and scaled there."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    if tensor.dtype == torch.uint8:
        return tensor.to(torch.float32).div_(255)
    return tensor.to(torch.float32)


def encode(
    objective: Objective, images: npt.NDArray[Any], indices: IntArray | None = None, batch: int | None = None
) -> Encoded:
    """Encode images; the result does not depend on anything but the weights, the images and the batch size.

    Args:
        objective: on any device; its mode is put back afterwards.
        images: (N, C, H, W) uint8, or floats in 0 to 1; may be a memory map.
        indices: which images, in which order; all of them by default.
        batch: images at a time; `CPU_BATCH` or `GPU_BATCH` by default.

    Raises:
        ValueError: no images.
    """
    chosen = np.arange(len(images)) if indices is None else indices
    if not len(chosen):
        raise ValueError("there are no images to encode")
    device = next(objective.parameters()).device
    batch = batch or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)
    codes, log_sigma = [], []
    information = np.zeros(())
    training = objective.training
    objective.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(chosen), batch):
                part = chosen[start : start + batch]
                seen = objective.represent(to_unit(images[part], device))
                codes.append(seen.mean.cpu().numpy())
                if seen.log_sigma is not None:
                    log_sigma.append(seen.log_sigma.cpu().numpy())
                information = information + len(part) * seen.information.cpu().numpy().astype(np.float64)
    finally:
        objective.train(training)
    return Encoded(np.concatenate(codes), np.concatenate(log_sigma) if log_sigma else None, information / len(chosen))
