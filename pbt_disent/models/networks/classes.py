"""Codes of labelled latents as a decoder takes them: one unit for each class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ClassUnits"]


class ClassUnits(nn.Module):
    """Codes (B, Z), of which the first are classes, to units (B, sum of sizes + free latents); it has no weights.

    Args:
        sizes: the number of classes of each labelled latent.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)

    def forward(self, codes: Tensor) -> Tensor:
        """Round the labelled latents to a class, one that there is, and leave the free ones as they are."""
        labelled, free = codes[:, : len(self.sizes)], codes[:, len(self.sizes) :]
        most = torch.tensor(self.sizes, device=codes.device, dtype=codes.dtype) - 1
        return torch.cat([self.one_hot(torch.minimum(labelled.round().clamp_min(0), most).long()), free], 1)

    def one_hot(self, classes: Tensor) -> Tensor:
        """(B, L) class ids -> (B, sum of sizes); torch's own would look at the ids, and so wait for a device."""
        ids = [torch.arange(size, device=classes.device) for size in self.sizes]
        return torch.cat([classes[:, column, None] == one for column, one in enumerate(ids)], 1).to(torch.float32)
