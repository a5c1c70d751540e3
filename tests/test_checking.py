"""What is refused before anything is written: a config that does not fit its data, in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pbt_disent import api
from pbt_disent.config import load_config
from pbt_disent.errors import UserError
from tests.test_pipeline import TINY


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["final.objective={name: adagvae, betta: 3}"], r"key 'final.objective.betta': is unknown to adagvae"),
        (["final.objective={name: ssdgm, latents: 1}"], r"latents"),
        (["budget=100000", "objective.batch_size=abc"], r"objective.batch_size='abc': must be a number"),
        (["budget=100000", "final.objective={name: adagvae, batch_size: abc}"], r"batch_size='abc': must be a number"),
        (["budget=1"], r"budget=1: must be at least"),
        (["method=pbt-vae", "supervision.factors=[color]"], r"supervision.factors: 'color': is no factor"),
    ],
)
def test_an_objective_or_a_budget_that_does_not_fit(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        api.check(load_config(None, [*TINY, *overrides]))


def test_how_many_classes_the_final_objective_has_need_not_be_known() -> None:
    api.check(load_config(None, [*TINY, "final.objective={name: ssdgm, latents: 4}"]))


def test_labels_to_rank_by_that_the_data_do_not_have(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", images=np.zeros((40, 32, 32), dtype=np.uint8))
    with pytest.raises(UserError, match="has no labels"):
        api.check(
            load_config(None, [*TINY, "data.options={}", f"data.name={tmp_path / 'plain.npz'}", "method=pbt-vae"])
        )


@pytest.mark.parametrize(
    ("method", "images", "latents", "minimum"),
    [
        ("rpu-vae", 19, 4, 20),
        ("rpu-vae", 20, 4, 20),
        ("rpu-vae", 30, 31, 31),
        ("rpu-vae", 31, 31, 31),
        ("pbt-u-vae", 9, 4, 10),
        ("pbt-u-vae", 10, 4, 10),
    ],
)
def test_fewer_images_than_rank_models(tmp_path: Path, method: str, images: int, latents: int, minimum: int) -> None:
    np.savez(tmp_path / "few.npz", images=np.zeros((images, 32, 32), dtype=np.uint8))
    name, size = f"data.name={tmp_path / 'few.npz'}", f"objective.latents={latents}"
    config = load_config(None, [*TINY, "data.options={}", name, size, f"method={method}"])
    if images >= minimum:
        api.check(config)
        return
    with pytest.raises(UserError, match=f"has {images} images to train on, where at least {minimum} are"):
        api.check(config)
