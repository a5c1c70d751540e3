"""Networks: shapes, choice by size, the layers of one pixel."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from pbt_disent.errors import UserError
from pbt_disent.models.build import initialise
from pbt_disent.models.networks import NETWORKS, ImageShape, Network
from pbt_disent.models.networks.conv import FromPixel, ToPixel
from tests.objectives import options_of

PLAIN = sorted(set(NETWORKS) - {"auto", "ladder"})
"""The networks that do not go by another's choice; a ladder has an encoder and a decoder of its own."""


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PLAIN)
def test_shapes_of_every_network(name: str, channels: int) -> None:
    network = NETWORKS[name](width=4)
    for size in network.sizes or (20,):
        shape = (channels, size, size)
        encoded = network.encoder(shape, 7)(torch.zeros(3, *shape))
        decoded = network.decoder(shape, 5)(torch.zeros(3, 5))
        assert encoded.shape == (3, 7)
        assert decoded.shape == (3, *shape)


def test_parameters_of_the_published_network() -> None:
    """Convolutions of 32, 32, 64, 64, 512 channels and a 1x1 one; batch norm brings two per channel, biases none."""
    network = NETWORKS["conv64"]()
    assert network.width == 32
    kernels = 16 * (1 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 512)
    encoder = network.encoder((1, 64, 64), 20)
    assert sum(p.numel() for p in encoder.parameters()) == kernels + 2 * (32 + 32 + 64 + 64 + 512) + 512 * 20 + 20
    decoder = network.decoder((1, 64, 64), 10)
    assert sum(p.numel() for p in decoder.parameters()) == 10 * 512 + kernels + 2 * (512 + 64 + 64 + 32 + 32) + 1


def resolved(name: str, image_shape: ImageShape, **options: int) -> Network:
    return NETWORKS[name].model_validate(options).resolve(image_shape)


def test_auto_goes_by_size() -> None:
    assert resolved("auto", (1, 32, 32)).name == "conv32"
    assert [resolved("auto", (3, size, size)).name for size in (16, 28, 64, 128)] == [
        "conv16",
        "conv28",
        "conv64",
        "conv128",
    ]
    assert resolved("mlp", (1, 31, 17)).name == "mlp"
    with pytest.raises(UserError, match=r"1x31x31.*16, 28, 32, 64, 128 pixels"):
        resolved("auto", (1, 31, 31))
    with pytest.raises(UserError, match="64 pixels"):
        resolved("conv64", (1, 32, 32))
    with pytest.raises(UserError, match="did you mean 'conv32'"):
        options_of(network="conv33")


def test_auto_hands_its_width_on() -> None:
    assert resolved("auto", (1, 32, 32), width=5).width == 5
    assert resolved("auto", (1, 32, 32)).width == 16
    assert resolved("auto", (1, 64, 64)).width == 32


@pytest.mark.parametrize("side", [1, 4])
def test_layers_of_one_pixel_are_convolutions(side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    down, up = ToPixel(6, 5, side).double(), FromPixel(5, 6, side).double()
    initialise(nn.Sequential(down, up), generator)
    features = torch.randn(4, 6, side, side, generator=generator, dtype=torch.float64, requires_grad=True)
    pixel = torch.randn(4, 5, 1, 1, generator=generator, dtype=torch.float64, requires_grad=True)
    assert down.bias is not None
    for ours, theirs, inputs in (
        (down(features), functional.conv2d(features, down.weight, down.bias), [features, *down.parameters()]),
        (up(pixel), functional.conv_transpose2d(pixel, up.weight), [pixel, *up.parameters()]),
    ):
        torch.testing.assert_close(ours, theirs)
        out = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
        gradients = torch.autograd.grad(theirs, inputs, out)
        for ours_gradient, gradient in zip(torch.autograd.grad(ours, inputs, out), gradients, strict=True):
            torch.testing.assert_close(ours_gradient, gradient)
