"""What a config may say about an objective, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from pbt_disent.errors import UserError
from pbt_disent.models import OBJECTIVES
from tests.objectives import options_of


def test_defaults_are_complete() -> None:
    options = options_of()
    assert options.name == "betatcvae"
    assert options.latents == 10
    assert options.network.name == "conv32"
    assert options.network.width == 16
    assert options.settings["estimator"] == "mws"
    assert options.fixed == {}
    assert set(options.space) == {"lr", "beta", "batch_size"}
    assert options.space["lr"].log
    assert options.space["batch_size"].low >= 16
    assert options.space["batch_size"].integer


def test_a_number_fixes_and_a_mapping_narrows() -> None:
    options = options_of(batch_size=64, beta={"low": 2, "high": 20}, lr={"high": 1e-4}, latents=6)
    assert options.fixed == {"batch_size": 64.0}
    assert (options.space["beta"].low, options.space["beta"].high) == (2, 20)
    assert options.space["beta"].log
    assert options.space["lr"].high == options.space["lr"].default == 1e-4
    assert {**options.fixed, "lr": 1e-5, "beta": 3.0} == {"batch_size": 64.0, "lr": 1e-5, "beta": 3.0}
    assert options.defaults == {"batch_size": 64.0, "lr": 1e-4, "beta": 6.0}
    assert options.latents == 6
    assert options.with_defaults().fixed == options.defaults
    assert options.with_defaults().space == {}


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_what_is_dumped_reads_back(name: str) -> None:
    """All options, also those that a config narrows, fixes or lets choose."""
    options = OBJECTIVES.options(name)
    narrowed = options.model_validate(
        {"lr": {"low": 1e-4, "high": 1e-3}, "batch_size": {"choices": [64, 32]}, "network": {"width": 5}}
    )
    for given in (options(), narrowed, narrowed.with_defaults()):
        assert options.model_validate(given.dump()) == given
    assert narrowed.dump() != options().dump()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "betatcva"}, r"objective='betatcva': is no known objective; did you mean 'betatcvae'"),
        ({"latent": 3}, r"key 'objective.latent': is unknown to betatcvae; did you mean 'latents'"),
        ({"latents": 0}, r"latents=0: must be in 1 to 512; the default is 10"),
        ({"latents": 2.5}, r"latents=2.5: must be a whole number in 1 to 512; the default is 10"),
        ({"latents": "six"}, r"latents='six': must be in 1 to 512; the default is 10"),
        ({"latents": True}, r"latents=True: must be in 1 to 512; the default is 10"),
        ({"estimator": "msw"}, r"estimator='msw': input should be 'mws' or 'mss'; the default is mws"),
        ({"beta": 0.5}, "objective.beta=0.5: must be in 1 to 500; for example 6"),
        ({"beta": True}, "must be a number or a mapping"),
        ({"beta": "4"}, "must be a number or a mapping"),
        ({"beta": float("nan")}, "must be a number or a mapping"),
        ({"batch_size": 33.5}, "whole number"),
        ({"lr": {"low": 1e-7}}, "objective.lr.low=1e-07: must be in"),
        ({"lr": {"lo": 1e-5}}, r"key 'objective.lr.lo': is unknown; did you mean 'low'"),
        ({"lr": {"low": 1e-3, "high": 1e-4}}, r"objective.lr=.*: low must not exceed high; exchange the two"),
        ({"lr": {"high": 1e-4, "default": 1e-3}}, "objective.lr.default"),
        ({"lr": {"choices": [1e-4], "low": 1e-5}}, "must have choices alone"),
        ({"lr": {"choices": [1e-4], "default": 1e-3}}, "objective.lr.default=0.001: must be one of"),
        ({"network": "conv64"}, "takes square images of 64"),
        ({"network": {"width": 0}}, r"objective.network.width=0: must be in 1 to 1024"),
        ({"network": {"depth": 3}}, r"key 'objective.network.depth': is unknown to auto; .*width"),
        ({"network": 3}, r"objective.network=3: must be the name of one network, or a mapping"),
        ({"network_width": 4}, r"key 'objective.network_width': is unknown to betatcvae; did you mean 'network'"),
        ({"likelihood": "poisson"}, r"objective.likelihood='poisson': is no known likelihood; .*bernoulli"),
        ({"lr_schedule": {"name": "cosine", "final": 2}}, r"lr_schedule.final=2: must be in 0 to 1; the default is 0"),
        ({"name": "ssdgm", "labels_see_latents": 1}, "labels_see_latents=1: input should be a valid boolean"),
        ({"name": "provlae", "plateau_gain": 2}, "plateau_gain=2: must be in 0 to 1; the default is 0.005"),
    ],
)
def test_mistakes_are_one_clear_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        options_of(**values)
    assert "\n" not in str(caught.value)


def test_settings_of_each_type() -> None:
    assert options_of("ssdgm", labels_see_latents=True, classes=[3]).settings["labels_see_latents"] is True
    plateau_gain = OBJECTIVES.options("provlae").model_validate({"plateau_gain": 1}).dump()["plateau_gain"]
    assert (plateau_gain, type(plateau_gain)) == (1.0, float)
    assert options_of(network={"width": None}).network.width == 16
