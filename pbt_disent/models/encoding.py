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
    """The codes of N images and what the encoder says about them.

    Args:
        codes: The posterior means, (N, Z).
        log_sigma: The logarithms of the posterior standard deviations, (N, Z), or None where the encoder has none.
        information: The information of each latent in nats, averaged over the images, (Z,).
    """

    codes: npt.NDArray[np.float32]
    log_sigma: npt.NDArray[np.float32] | None
    information: npt.NDArray[np.float64]


def to_unit(images: npt.NDArray[Any], device: torch.device | str) -> Tensor:
    """Return images as a float32 tensor in 0 to 1 on a device; uint8 is moved first and scaled there.

    >>> to_unit(np.array([0, 51, 255], dtype=np.uint8), "cpu")
    tensor([0.0000, 0.2000, 1.0000])

    Args:
        images: The images, uint8 or floats in 0 to 1, of any shape.
        device: The device of the tensor.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    if tensor.dtype == torch.uint8:
        return tensor.to(torch.float32).div_(255)
    return tensor.to(torch.float32)


def encode(
    objective: Objective, images: npt.NDArray[Any], indices: IntArray | None = None, batch: int | None = None
) -> Encoded:
    """Encode images; the result does not depend on anything but the weights, the images and the batch size.

    Args:
        objective: The objective, on any device; its mode is put back afterwards.
        images: The images, (N, C, H, W), uint8 or floats in 0 to 1; they may be a memory map.
        indices: Which images are encoded, in which order; the default is all of them.
        batch: The number of images at a time; the default is `CPU_BATCH` or `GPU_BATCH`.

    Raises:
        ValueError: There are no images.
    """
    indices = np.arange(len(images)) if indices is None else indices
    if not len(indices):
        raise ValueError("there are no images to encode")
    device = next(objective.parameters()).device
    batch = batch or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)
    codes, log_sigma = [], []
    information = np.zeros(())
    training = objective.training
    objective.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(indices), batch):
                part = indices[start : start + batch]
                representation = objective.represent(to_unit(images[part], device))
                codes.append(representation.mean.cpu().numpy())
                if representation.log_sigma is not None:
                    log_sigma.append(representation.log_sigma.cpu().numpy())
                sums = len(part) * representation.information.cpu().numpy().astype(np.float64)
                information = information + sums
    finally:
        objective.train(training)
    return Encoded(np.concatenate(codes), np.concatenate(log_sigma) if log_sigma else None, information / len(indices))
