"""What a config may say about an objective, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pbt_disent.config import ObjectiveConfig
from pbt_disent.errors import UserError
from pbt_disent.models import build, resolve
from pbt_disent.models.settings import Setting

SHAPE = (1, 32, 32)


def test_defaults_are_complete() -> None:
    resolved = resolve(ObjectiveConfig(), SHAPE)
    assert resolved.name == "betatcvae"
    assert resolved.settings["latents"] == 10
    assert resolved.settings["network"] == "conv32"
    assert resolved.settings["network_width"] == 16
    assert resolved.settings["estimator"] == "mws"
    assert resolved.fixed == {}
    assert set(resolved.space) == {"lr", "beta", "batch_size"}
    assert resolved.space["lr"].log
    assert resolved.space["batch_size"].low >= 16
    assert resolved.space["batch_size"].integer


def test_a_number_fixes_and_a_mapping_narrows() -> None:
    given = {"batch_size": 64, "beta": {"low": 2, "high": 20}, "lr": {"high": 1e-4}, "latents": 6}
    resolved = resolve(ObjectiveConfig(name="betatcvae", **given), SHAPE)
    assert resolved.fixed == {"batch_size": 64.0}
    assert (resolved.space["beta"].low, resolved.space["beta"].high) == (2, 20)
    assert resolved.space["beta"].log
    assert resolved.space["lr"].high == resolved.space["lr"].default == 1e-4
    assert resolved.complete({"lr": 1e-5, "beta": 3.0}) == {"batch_size": 64.0, "lr": 1e-5, "beta": 3.0}
    assert resolved.settings["latents"] == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "betatcva"}, "did you mean 'betatcvae'"),
        ({"latent": 3}, "objective.latent.*did you mean 'latents'"),
        ({"latents": 0}, "latents=0: must be in 1 to"),
        ({"latents": 2.5}, "whole number"),
        ({"latents": "six"}, "must be a number"),
        ({"latents": True}, "must be a number"),
        ({"estimator": "msw"}, "did you mean 'mws'"),
        ({"beta": 0.5}, "objective.beta=0.5: must be in 1 to 500"),
        ({"beta": True}, "must be a number or a mapping"),
        ({"beta": "4"}, "must be a number or a mapping"),
        ({"beta": float("nan")}, "must be a number or a mapping"),
        ({"batch_size": 33.5}, "whole number"),
        ({"lr": {"low": 1e-7}}, "objective.lr.low=1e-07: must be in"),
        ({"lr": {"lo": 1e-5}}, "did you mean 'low'"),
        ({"lr": {"low": 1e-3, "high": 1e-4}}, "low must not exceed high"),
        ({"lr": {"high": 1e-4, "default": 1e-3}}, "objective.lr.default"),
        ({"network": "conv64"}, "takes square images of 64"),
        ({"network_width": 0}, "must be in 1 to"),
        ({"likelihood": "poisson"}, "is no known choice"),
    ],
)
def test_mistakes_are_one_clear_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve(ObjectiveConfig(**values), SHAPE)
    assert "\n" not in str(caught.value)


def test_settings_of_each_type() -> None:
    assert Setting(False, "").check("x", True) is True
    assert Setting(0.5, "", low=0, high=1).check("x", 1) == 1.0
    assert Setting(None, "").check("x", None) is None
    with pytest.raises(UserError, match="true or false"):
        Setting(False, "").check("x", 1)
    with pytest.raises(UserError, match="must be in 0 to 1"):
        Setting(0.5, "", low=0, high=1).check("x", 2)


def test_building_leaves_the_global_stream_alone() -> None:
    resolved = resolve(ObjectiveConfig(latents=2), SHAPE)
    values = resolved.complete({name: declared.default for name, declared in resolved.space.items()})
    before = torch.random.get_rng_state()
    one = build(resolved.name, resolved.settings, values, SHAPE, 100, generator=torch.Generator().manual_seed(1))
    torch.rand(3)
    two = build(resolved.name, resolved.settings, values, SHAPE, 100, generator=torch.Generator().manual_seed(1))
    torch.random.set_rng_state(before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    build(resolved.name, resolved.settings, values, SHAPE, 100)
    assert torch.equal(before, torch.random.get_rng_state())
