"""Encoder and decoder networks by name; a file in this package adds one.

A network is two functions: an encoder (B, C, H, W) -> (B, outputs) and a decoder (B, inputs) -> (B, C, H, W)
logits. What the encoder's outputs mean (means, log standard deviations, label logits) is the objective's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from pbt_disent.errors import UserError
from pbt_disent.registry import Registry

__all__ = ["NETWORKS", "ImageShape", "Network", "choose"]

ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class Network:
    """A kind of network.

    Args:
        sizes: the heights (= widths) of the square images that it takes; empty for images of any shape.
        width: channels or units of its first layer, where the config does not say.
        encoder: (image shape, outputs, width) -> module.
        decoder: (image shape, inputs, width) -> module; it ends in logits.
        automatic: whether `auto` may choose it.
    """

    sizes: tuple[int, ...]
    width: int
    encoder: Callable[[ImageShape, int, int], nn.Module]
    decoder: Callable[[ImageShape, int, int], nn.Module]
    automatic: bool = True

    def takes(self, image_shape: ImageShape) -> bool:
        """Return whether images of this shape (C, H, W) fit."""
        _, height, width = image_shape
        return not self.sizes or (height == width and height in self.sizes)


NETWORKS: Registry[Network] = Registry("network", "pbt_disent.models.networks")


def choose(name: str, image_shape: ImageShape) -> str:
    """Return the network that a config means: `auto` is the one made for the size of the images.

    Raises:
        UserError: no such network, or it does not take images of this shape.
    """
    shape = "x".join(map(str, image_shape))
    if name == "auto":
        fitting = [known for known in NETWORKS if NETWORKS[known].automatic and NETWORKS[known].takes(image_shape)]
        if not fitting:
            sizes = sorted({size for known in NETWORKS for size in NETWORKS[known].sizes})
            raise UserError(
                f"images of {shape} (C x H x W)",
                "fit no convolutional network",
                f"use square images of {', '.join(map(str, sizes))} pixels, or objective.network=mlp",
            )
        return fitting[0]
    if not NETWORKS[name].takes(image_shape):
        sizes = sorted(NETWORKS[name].sizes)
        raise UserError(
            f"objective.network={name}",
            f"takes square images of {', '.join(map(str, sizes))} pixels, not {shape}",
            "use objective.network=auto",
        )
    return name
