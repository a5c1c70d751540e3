"""pro-VLAE's ladder: one latent vector per level of resolution, each with a gate (Li et al. 2020, arXiv 2002.10549).

Level 1 is the shallowest, level L the deepest; gates and codes are ordered deepest first. The published batch norm
never updates its statistics, so it is no more than part of the convolution before it, and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from pbt_disent.errors import UserError
from pbt_disent.models.networks import NETWORKS, ImageShape, Network

__all__ = ["Ladder", "LadderDecoder", "LadderEncoder", "max_levels"]

UNITS = 8
"""Units of the fully connected layers, as a multiple of the width."""


@NETWORKS.register("ladder")
class Ladder(Network):
    """The networks of pro-VLAE, which that objective builds with as many levels as it has."""

    width: int = Field(32, ge=1, le=1024, description="The number of channels of every convolution.")

    def resolve(self, image_shape: ImageShape) -> Network:
        """Refuse any other objective.

        Raises:
            UserError: Always; pro-VLAE does not ask.
        """
        raise UserError("objective.network=ladder", "is made for provlae alone", "use objective.network=auto")


def max_levels(image_shape: ImageShape) -> int:
    """Return how many levels images of this shape (C, H, W) can have: each halves them, and its head once more.

    >>> max_levels((1, 32, 32)), max_levels((1, 30, 30))
    (4, 0)
    """
    _, height, width = image_shape
    levels = 0
    while height == width and height % 2 ** (levels + 2) == 0:
        levels += 1
    return levels


def _dense(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ELU()]


class LadderEncoder(nn.Module):
    """(B, C, H, W) -> means and log standard deviations, (B, levels * dims) each.

    Args:
        image_shape: The shape (C, H, W) of an image.
        levels: The number of levels, L.
        dims: The number of latents of each level.
        width: The number of channels of every convolution.
    """

    def __init__(self, image_shape: ImageShape, levels: int, dims: int, width: int) -> None:
        super().__init__()
        channels = [image_shape[0]] + [width] * levels
        trunk = [nn.Sequential(nn.Conv2d(channels[i], width, 4, 2, 1), nn.ELU()) for i in range(levels)]
        heads = []
        for level in range(1, levels + 1):
            side = image_shape[1] >> (level + 1)
            convolution = [nn.Conv2d(width, width, 4, 2, 1), nn.ELU(), nn.Flatten()]
            dense = _dense(width * side**2, UNITS * width)
            heads.append(nn.Sequential(*convolution, *dense, nn.Linear(UNITS * width, 2 * dims)))
        self.trunk, self.heads = nn.ModuleList(trunk), nn.ModuleList(heads)

    def forward(self, images: Tensor, gates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Return the means and log standard deviations of (B, C, H, W) images.

        Args:
            images: The images in 0 to 1.
            gates: The gate of each level, deepest first; it multiplies the input of the level's head.
        """
        means: list[Tensor] = []
        log_sigmas: list[Tensor] = []
        hidden = images
        for stage, head, gate in zip(self.trunk, self.heads, reversed(gates), strict=True):
            hidden = stage(hidden)
            mean, log_sigma = head(hidden if gate == 1 else gate * hidden).chunk(2, dim=1)
            means.insert(0, mean)
            log_sigmas.insert(0, log_sigma)
        return torch.cat(means, 1), torch.cat(log_sigmas, 1)


class LadderDecoder(nn.Module):
    """(B, levels * dims) -> (B, C, H, W) logits.

    Args:
        image_shape: The shape (C, H, W) of an image.
        levels: The number of levels, L.
        dims: The number of latents of each level.
        width: The number of channels of every transposed convolution.
    """

    def __init__(self, image_shape: ImageShape, levels: int, dims: int, width: int) -> None:
        super().__init__()
        self.dims = dims
        inputs, ups = [], []
        for level in range(levels, 0, -1):
            deepest = level == levels
            side = image_shape[1] >> (level + 1)
            dense = [*_dense(dims, UNITS * width), *_dense(UNITS * width, width * side**2)]
            inputs.append(nn.Sequential(*dense, nn.Unflatten(1, (width, side, side))))
            ups.append(nn.Sequential(nn.ConvTranspose2d(width if deepest else 2 * width, width, 4, 2, 1), nn.ELU()))
        self.inputs, self.ups = nn.ModuleList(inputs), nn.ModuleList(ups)
        self.last = nn.ConvTranspose2d(width, image_shape[0], 4, 2, 1)

    def forward(self, z: Tensor, gates: Sequence[float]) -> Tensor:
        """Return the logits (B, C, H, W) of codes.

        Args:
            z: The codes, (B, levels * dims), the latents of the deepest level first.
            gates: The gate of each level, deepest first; it multiplies what the level contributes, and 0 cuts it off.
        """
        hidden: Tensor | None = None
        codes = torch.split(z, self.dims, 1)
        for code, dense, up, gate in zip(codes, self.inputs, self.ups, gates, strict=True):
            contribution = dense(code)
            if gate != 1:
                contribution = gate * contribution
            hidden = up(contribution if hidden is None else torch.cat([contribution, hidden], 1))
        logits: Tensor = self.last(hidden)
        return logits
