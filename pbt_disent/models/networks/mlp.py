"""Fully connected networks, for images of any shape; they rarely align with position."""

from __future__ import annotations

import math

from pydantic import Field
from torch import nn

from pbt_disent.models.networks import NETWORKS, ImageShape, Network

__all__ = ["MLP"]


@NETWORKS.register("mlp")
class MLP(Network):
    """Fully connected layers: two hidden ones in the encoder, three in the decoder."""

    width: int = Field(400, ge=1, le=1024, description="The number of units of each hidden layer.")

    def encoder(self, image_shape: ImageShape, outputs: int) -> nn.Module:
        """Return a module (B, C, H, W) -> (B, outputs)."""
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(image_shape), self.width),
            nn.ReLU(inplace=True),
            nn.Linear(self.width, self.width),
            nn.ReLU(inplace=True),
            nn.Linear(self.width, outputs),
        )

    def decoder(self, image_shape: ImageShape, inputs: int) -> nn.Module:
        """Return a module (B, inputs) -> (B, C, H, W) that ends in logits."""
        return nn.Sequential(
            nn.Linear(inputs, self.width),
            nn.ReLU(inplace=True),
            nn.Linear(self.width, self.width),
            nn.ReLU(inplace=True),
            nn.Linear(self.width, self.width),
            nn.ReLU(inplace=True),
            nn.Linear(self.width, math.prod(image_shape)),
            nn.Unflatten(1, image_shape),
        )
