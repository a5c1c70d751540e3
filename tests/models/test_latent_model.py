"""A served model: two plain files, the same codes after loading, names of latents that stay with the weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pbt_disent.errors import UserError
from pbt_disent.models import LatentModel, Objective
from pbt_disent.models.latent_model import (
    check_latent_names,
    default_latent_names,
    rename_latents,
    saved_latent_names,
)

Make = Callable[..., Objective]


@pytest.fixture
def model(make: Make) -> LatentModel:
    return LatentModel(make(), ["x", "y", "scale", "f3"], np.array([2.0, 1.5, 0.5, 0.0]))


def test_loading_gives_the_same_model(model: LatentModel, images: Tensor, tmp_path: Path) -> None:
    model.save(tmp_path / "deep" / "model")
    loaded = LatentModel.load(tmp_path / "deep" / "model")
    assert sorted(path.name for path in (tmp_path / "deep" / "model").iterdir()) == ["model.json", "model.safetensors"]
    codes = model.encode(images.numpy())
    np.testing.assert_array_equal(loaded.encode(images.numpy()), codes)
    np.testing.assert_array_equal(loaded.decode(codes), model.decode(codes))
    assert loaded.latents == ["x", "y", "scale", "f3"]
    np.testing.assert_array_equal(loaded.information, model.information)
    assert loaded.name == "betatcvae"
    assert loaded.objective.values == model.objective.values


def test_saving_twice_writes_the_same_bytes(model: LatentModel, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        model.save(tmp_path / folder)
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_unknown_information_survives(make: Make, tmp_path: Path) -> None:
    LatentModel(make()).save(tmp_path)
    loaded = LatentModel.load(tmp_path)
    assert np.isnan(loaded.information).all()
    assert loaded.latents == ["f0", "f1", "f2", "f3"]
    json.loads((tmp_path / "model.json").read_text(), parse_constant=pytest.fail)


def test_traversal_moves_one_latent(model: LatentModel, images: Tensor) -> None:
    code = model.encode(images[:1].numpy())[0]
    values = np.linspace(-2, 2, 5)
    frames = model.traverse(code, 1, values)
    assert frames.shape == (5, 1, 32, 32)
    moved = code.copy()
    moved[1] = 2
    np.testing.assert_allclose(frames[-1], model.decode(moved[None])[0], atol=1e-6)
    assert (frames >= 0).all()
    assert (frames <= 1).all()
    assert not np.allclose(frames[0], frames[-1])


def test_decoding_goes_in_batches(model: LatentModel) -> None:
    codes = np.random.default_rng(0).normal(size=(7, 4))
    np.testing.assert_allclose(model.decode(codes, batch=3), model.decode(codes), atol=1e-6)


def test_evaluation_leaves_no_trace(model: LatentModel, images: Tensor) -> None:
    before = {key: value.clone() for key, value in model.objective.state_dict().items()}
    model.encode(images.numpy())
    assert not model.objective.training
    assert all(torch.equal(before[key], value) for key, value in model.objective.state_dict().items())


def test_wrong_use_is_one_clear_line(model: LatentModel, make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be N x 1x32x32"):
        model.encode(np.zeros((3, 1, 64, 64), dtype=np.uint8))
    with pytest.raises(UserError, match="one for each of 4 latents"):
        LatentModel(make(), ["x"])
    with pytest.raises(UserError, match="must hold a saved model"):
        LatentModel.load(tmp_path / "nowhere")
    model.save(tmp_path)
    header = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(header | {"format": 99}))
    with pytest.raises(UserError, match="of format 99"):
        LatentModel.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("image_shape"),
        lambda header: header.pop("information"),
        lambda header: header.update(image_shape=[1, 32]),
        lambda header: header.update(image_shape=[3, 32, 32]),
        lambda header: header.update(settings={}),
        lambda header: header.update(information=["much"]),
        lambda header: header.update(latents=None, information=7),
    ],
)
def test_a_description_that_does_not_fit_is_named(
    model: LatentModel, tmp_path: Path, change: Callable[[dict[str, object]], object]
) -> None:
    model.save(tmp_path)
    header = json.loads((tmp_path / "model.json").read_text())
    change(header)
    (tmp_path / "model.json").write_text(json.dumps(header))
    with pytest.raises(UserError, match="is damaged"):
        LatentModel.load(tmp_path)


def test_a_description_that_is_no_mapping_is_named(model: LatentModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    (tmp_path / "model.json").write_text("[1]")
    with pytest.raises(UserError, match="is damaged"):
        LatentModel.load(tmp_path)


@pytest.mark.parametrize("wrong", ["", "1", "a b", "a/b", "-a", "index", "log_sigma_f0", "x" * 65])
def test_what_is_no_name(wrong: str) -> None:
    with pytest.raises(UserError, match="latent name"):
        check_latent_names(["f0", wrong])


def test_names_are_distinct_words_of_any_alphabet() -> None:
    check_latent_names([*default_latent_names(3), "Größe", "x-position_2"])
    with pytest.raises(UserError, match="is taken by latent 0"):
        check_latent_names(["a", "b", "a"])


def test_two_latents_can_change_names_with_each_other(make: Make, tmp_path: Path) -> None:
    LatentModel(make()).save(tmp_path)
    assert rename_latents(tmp_path, {0: "f1", 1: "f0"}) == ["f1", "f0", "f2", "f3"]
    assert LatentModel.load(tmp_path).latents == ["f1", "f0", "f2", "f3"]


def test_names_stay_with_the_weights(make: Make, tmp_path: Path) -> None:
    model = LatentModel(make(seed=0))
    assert saved_latent_names(tmp_path, model.weights) is None
    model.save(tmp_path)
    rename_latents(tmp_path, {2: "rotation"})
    assert saved_latent_names(tmp_path, model.weights) == ["f0", "f1", "rotation", "f3"]
    assert saved_latent_names(tmp_path, LatentModel(make(seed=1)).weights) is None


def test_a_latent_is_found_by_name_or_index(make: Make) -> None:
    model = LatentModel(make(), ["x", "y", "scale", "f3"])
    assert [model.index(one) for one in ("scale", "3", "f3", "0")] == [2, 3, 3, 0]
    for wrong in ("4", "scal", "-1"):
        with pytest.raises(UserError, match=f"latent '{wrong}'"):
            model.index(wrong)
