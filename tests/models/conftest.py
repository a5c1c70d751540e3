"""Small objectives and images for the tests of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pbt_disent.models import OBJECTIVES, Objective, build
from tests.objectives import options_of

Make = Callable[..., Objective]
SMALL = {"latents": 4, "network": {"width": 4}, "levels": 2, "discriminator_width": 32, "classes": [6]}


@pytest.fixture
def make() -> Make:
    """Return a function that builds an objective with given values, the rest at their defaults."""

    def build_one(
        name: str = "betatcvae", *, seed: int = 0, size: int = 32, channels: int = 1, **values: Any
    ) -> Objective:
        shape = (channels, size, size)
        small = {key: value for key, value in SMALL.items() if key in OBJECTIVES.options(name).model_fields}
        if isinstance(values.get("network"), str):
            values["network"] = {"name": values["network"], "width": 4}
        options = options_of(name, shape, **{**small, **values})
        generator = torch.Generator().manual_seed(seed)
        return build(options, options.defaults, shape, 1000, generator=generator)

    return build_one


@pytest.fixture
def images() -> Tensor:
    """Return 24 white squares at different places, (24, 1, 32, 32) in 0 to 1."""
    batch = torch.zeros(24, 1, 32, 32)
    for index in range(24):
        top, left = 3 * (index % 6), 5 * (index // 6)
        batch[index, 0, top : top + 10, left : left + 10] = 1
    return batch
