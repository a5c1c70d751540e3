"""Building an objective: first weights from an explicit stream, and from nowhere else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pbt_disent.models import build
from pbt_disent.models.build import initialise
from tests.objectives import options_of

SHAPE = (1, 32, 32)


def test_building_leaves_the_global_stream_alone() -> None:
    options = options_of(image_shape=SHAPE, latents=2)
    before = torch.random.get_rng_state()
    one = build(options, options.defaults, SHAPE, 100, generator=torch.Generator().manual_seed(1))
    torch.rand(3)
    two = build(options, options.defaults, SHAPE, 100, generator=torch.Generator().manual_seed(1))
    torch.random.set_rng_state(before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    build(options, options.defaults, SHAPE, 100)
    assert torch.equal(before, torch.random.get_rng_state())


def test_first_weights_come_from_the_stream_alone() -> None:
    layers = [nn.Sequential(nn.Conv2d(2, 3, 4), nn.BatchNorm2d(3), nn.Linear(3, 50)) for _ in range(3)]
    before = torch.random.get_rng_state()
    for layer, seed in zip(layers, (1, 1, 2), strict=True):
        initialise(layer, torch.Generator().manual_seed(seed))
    assert torch.equal(before, torch.random.get_rng_state())
    first, same, other = ([p.clone() for p in layer.parameters()] for layer in layers)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[-1], other[-1])
    assert first[0].abs().max() <= 1 / 32**0.5
    assert first[0].std().item() == pytest.approx(1 / 96**0.5, rel=0.25)
    assert first[-1].abs().max() <= 1 / 3**0.5


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match="PReLU"):
        initialise(nn.Sequential(nn.PReLU()), torch.Generator())
