"""Fully connected networks, for images of any shape; they rarely align with position (design section 6)."""

from __future__ import annotations

import math

from torch import nn

from pbt_disent.models.networks import NETWORKS, ImageShape, Network

__all__ = ["mlp_decoder", "mlp_encoder"]


def mlp_encoder(image_shape: ImageShape, outputs: int, width: int) -> nn.Module:
    """Two hidden layers of `width` units: (B, C, H, W) -> (B, outputs)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(image_shape), width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, outputs),
    )


def mlp_decoder(image_shape: ImageShape, inputs: int, width: int) -> nn.Module:
    """Three hidden layers of `width` units: (B, inputs) -> (B, C, H, W) logits."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, math.prod(image_shape)),
        nn.Unflatten(1, image_shape),
    )


NETWORKS.register("mlp")(Network((), 400, mlp_encoder, mlp_decoder, automatic=False))
