"""All images of a run on the GPU, as uint8: a batch is gathered there, and only its indices come from the host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pbt_disent.models.contract import Batch
from pbt_disent.training.supervision import Supervision
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["Feed", "ResidentImages"]

SHARE_OF_FREE = 0.25
"""Of the GPU's free memory; several workers may share it, and training needs room too."""


@dataclass(frozen=True)
class ResidentImages:
    """The images of a run on a GPU.

    Args:
        images: (N, C, H, W) uint8.
    """

    images: Tensor

    @classmethod
    def load(cls, images: UInt8Array, device: str) -> ResidentImages | None:
        """Copy images (N, C, H, W) to a GPU; return none where they would take more than a quarter of what is free."""
        free, _ = torch.cuda.mem_get_info(device)
        if images.nbytes > SHARE_OF_FREE * free:
            return None
        whole = torch.empty(images.shape, dtype=torch.uint8, device=device)
        block = max(1, (64 << 20) // max(1, images[:1].nbytes))  # a memory map is never read into one array
        for start in range(0, len(images), block):
            whole[start : start + block] = torch.from_numpy(np.array(images[start : start + block]))
        return cls(whole)

    def feed(self, supervision: Supervision, order: Iterable[IntArray], generator: np.random.Generator) -> Feed:
        """Draw all batches of a task, with their labels and partners, as `Supervision.batch` would one by one.

        Args:
            supervision: The labels and partners, where there are any.
            order: The indices (B,) of each batch.
            generator: The random stream that chooses among the possible partners of an image.
        """
        paired = supervision.partners is not None
        rows = [np.stack([batch, supervision.pair(batch, generator)]) if paired else batch[None] for batch in order]
        device = self.images.device
        labels = None if supervision.labels is None else torch.from_numpy(supervision.labels).to(device)
        return Feed(self.images, torch.from_numpy(np.stack(rows)).to(device), labels)


@dataclass(frozen=True)
class Feed:
    """The batches of a task, on the GPU.

    Args:
        images: (N, C, H, W) uint8, all images.
        rows: (steps, 1 or 2, B) indices of each batch, and of its partners.
        labels: (N, L) class ids of all images, -1 where one is not known, or none.
    """

    images: Tensor
    rows: Tensor
    labels: Tensor | None

    @property
    def num_images(self) -> int:
        """Images in a batch, partners too."""
        return self.rows.shape[1] * self.rows.shape[2]

    def batch(self, place: Tensor) -> Batch:
        """Return a batch.

        Args:
            place: (1,) which one; on the GPU, so that a recorded gather reads it anew.
        """
        row = self.rows.index_select(0, place)[0]
        seen = self.images.index_select(0, row.reshape(-1)).to(torch.float32).div_(255)
        parts = seen.reshape(*row.shape, *seen.shape[1:])
        labels = None if self.labels is None else self.labels.index_select(0, row[0])
        mask = None if labels is None else labels >= 0
        return Batch(parts[0], labels, mask, parts[1] if len(row) > 1 else None)
