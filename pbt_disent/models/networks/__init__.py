"""Encoder and decoder networks by name; a file in this package adds one.

A network makes two modules: an encoder (B, C, H, W) -> (B, outputs) and a decoder (B, inputs) -> (B, C, H, W) logits.
What the encoder's outputs mean (means, log standard deviations, label logits) is the objective's business.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import nn

from pbt_disent.errors import UserError
from pbt_disent.registry import Component, Registry
from pbt_disent.units import shape_text

__all__ = ["NETWORKS", "Auto", "ImageShape", "Network"]

ImageShape = tuple[int, int, int]

NETWORKS: Registry[type[Network]] = Registry("network", "pbt_disent.models.networks")


class Network(Component):
    """Base of all networks."""

    sizes: ClassVar[tuple[int, ...]] = ()
    """The heights (= widths) of the square images that it takes; empty for images of any shape."""
    automatic: ClassVar[bool] = False
    """Whether `auto` may choose it."""

    width: int | None = Field(None, ge=1, le=1024, description="The number of channels or units of the first layer.")

    @classmethod
    def takes(cls, image_shape: ImageShape) -> bool:
        """Return whether images of this shape (C, H, W) fit."""
        _, height, width = image_shape
        return not cls.sizes or (height == width and height in cls.sizes)

    def resolve(self, image_shape: ImageShape) -> Network:
        """Return the network to build for images of this shape (C, H, W).

        Raises:
            UserError: It does not take images of this shape.
        """
        if not self.takes(image_shape):
            sizes = ", ".join(map(str, sorted(self.sizes)))
            raise UserError(
                f"objective.network={self.name}",
                f"takes square images of {sizes} pixels, not {shape_text(image_shape)}",
                "use objective.network=auto",
            )
        return self

    def encoder(self, image_shape: ImageShape, outputs: int) -> nn.Module:
        """Return a module (B, C, H, W) -> (B, outputs)."""
        raise NotImplementedError

    def decoder(self, image_shape: ImageShape, inputs: int) -> nn.Module:
        """Return a module (B, inputs) -> (B, C, H, W) that ends in logits."""
        raise NotImplementedError


@NETWORKS.register("auto")
class Auto(Network):
    """The convolutional network that is made for the size of the images."""

    def resolve(self, image_shape: ImageShape) -> Network:
        """Return the network for images of this shape (C, H, W).

        Raises:
            UserError: No convolutional network takes them.
        """
        networks = [NETWORKS[name] for name in NETWORKS]
        fitting = [network for network in networks if network.automatic and network.takes(image_shape)]
        if not fitting:
            sizes = sorted({size for network in networks for size in network.sizes})
            raise UserError(
                f"images of {shape_text(image_shape)} (C x H x W)",
                "fit no convolutional network",
                f"use square images of {', '.join(map(str, sizes))} pixels, or objective.network=mlp",
            )
        return fitting[0]() if self.width is None else fitting[0](width=self.width)
