"""The estimator keeps scikit-learn's rules: its own checks run over it, on training runs that take a moment each."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pbt_disent import RPUVAE
from pbt_disent.data.worlds.sprites import Sprites
from pbt_disent.errors import UserError

TINY: dict[str, Any] = {
    "method": "pbt-u-vae",
    "objective": {"name": "betatcvae", "latents": 2, "batch_size": 16, "lr": 0.01, "network": {"width": 4}},
    "population.size": 2,
    "population.replicas": 2,
    "population.max_generations": 1,
    "population.image_passes_per_generation": 32,
    "population.fitness.points": 20,
    "data.held_out": 0,
}
ROWS = {**TINY, "objective": {**TINY["objective"], "network": {"name": "mlp", "width": 8}}}


@pytest.mark.slow
@parametrize_with_checks([RPUVAE(settings=ROWS, random_state=0)])
def test_scikit_learns_own_checks(estimator: RPUVAE, check: Callable[[RPUVAE], None]) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    data = Sprites(size=32, grid={"shape": 3, "scale": 2, "orientation": 1, "x": 4, "y": 4})
    return data.images(np.arange(len(data)))


@pytest.fixture(scope="module")
def fitted(images: np.ndarray) -> RPUVAE:
    return RPUVAE(settings=TINY, random_state=3).fit(images)


def test_a_config_may_be_a_file_and_settings_may_be_numbers_of_numpy(images: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 4\n")
    settings = {
        **TINY,
        "population.image_passes_per_generation": np.int64(16),
        "objective": {**TINY["objective"], "lr": 1e-5},
    }
    model = RPUVAE(str(file), settings=settings, runs=tmp_path / "runs").fit(images)
    assert model.run_folder_ == str(tmp_path / "runs" / "mine-1")
    assert (model.config_.seed, model.config_.population.image_passes_per_generation) == (4, 16)


def test_codes_have_a_row_per_image_and_a_name_per_column(fitted: RPUVAE, images: np.ndarray) -> None:
    codes = fitted.transform(images)
    assert codes.shape == (96, 2)
    assert list(fitted.get_feature_names_out()) == ["f0", "f1"]
    np.testing.assert_allclose(codes, fitted.model_.encode(images))
    back = fitted.inverse_transform(codes)
    assert back.shape == images.shape
    np.testing.assert_allclose(back, 255 * fitted.model_.decode(codes), rtol=1e-5)
    assert fitted.information_.shape == (2,)


@pytest.mark.parametrize("form", ["floats", "hw", "hwc", "rows"])
def test_the_same_images_in_another_form_give_the_same_codes(fitted: RPUVAE, images: np.ndarray, form: str) -> None:
    expected = fitted.transform(images)
    shaped = {
        "floats": images / 255.0,
        "hw": images[:, 0],
        "hwc": images.transpose(0, 2, 3, 1),
        "rows": images.reshape(96, -1).astype(np.float64),
    }[form]
    other = RPUVAE(settings=TINY, random_state=3, image_shape=(32, 32) if form == "rows" else None).fit(shaped)
    np.testing.assert_allclose(other.transform(shaped), expected, atol=1e-6)
    back = other.inverse_transform(other.transform(shaped))
    assert back.shape == shaped.shape
    assert back.max() <= (1 if form == "floats" else 255)


def test_a_clone_has_the_settings_and_nothing_that_was_learned(fitted: RPUVAE, images: np.ndarray) -> None:
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    assert not hasattr(copied, "model_")
    np.testing.assert_array_equal(copied.fit(images).transform(images), fitted.transform(images))


def test_it_stands_in_a_pipeline_and_survives_pickling(fitted: RPUVAE, images: np.ndarray) -> None:
    pipeline = make_pipeline(RPUVAE(settings=TINY, random_state=3), StandardScaler()).fit(images)
    assert list(pipeline.get_feature_names_out()) == ["f0", "f1"]
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(images), fitted.transform(images))


def test_a_run_that_is_kept_is_a_run_as_any_other(images: np.ndarray, tmp_path: Path) -> None:
    model = RPUVAE(settings=TINY, latents=3, runs=tmp_path / "runs").fit(images)
    folder = Path(str(model.run_folder_))
    assert (folder / "report.html").exists()
    assert (folder / "model" / "model.json").exists()
    assert len(model.get_feature_names_out()) == 3
    assert not (folder / "mlflow.db").exists()


def test_labels_reach_a_config_that_ranks_by_them(images: np.ndarray) -> None:
    labels = np.stack([np.array(["square", "ellipse", "heart"])[np.arange(96) // 32], np.arange(96) // 16 % 2], axis=1)
    settings = {**TINY, "method": "pbt-vae", "population.replicas": 1, "supervision": {"share": 1.0}}
    settings["population.fitness"] = {"name": "mig", "points": 100}
    model = RPUVAE(settings=settings, random_state=0).fit(images, labels)
    assert model.config_.method == "pbt-vae"
    with pytest.raises(UserError, match=r"label|factor"):
        RPUVAE(settings=settings, random_state=0).fit(images)


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda x: x[:1], "minimum of 2"),
        (lambda x: x[:, :, :20, :25], "objective.network=mlp"),
        (lambda x: np.where(x > 200, np.nan, x / 255.0), "NaN"),
        (lambda x: x[:, [0, 0, 0, 0]], "colour|channels"),
    ],
)
def test_what_holds_no_images_is_refused(images: np.ndarray, convert: Callable[..., np.ndarray], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RPUVAE("pbt-u-vae", settings=TINY).fit(convert(images))


def test_images_of_another_shape_are_refused_afterwards(fitted: RPUVAE, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be 1x32x32"):
        fitted.transform(images[:, :, :16, :16])
    with pytest.raises(ValueError, match="must be N x 2"):
        fitted.inverse_transform(np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"config": "nothing"}, "is no known preset"),
        ({"settings": {"population.sise": 3}}, "did you mean"),
        ({"settings": {**TINY, "population.size": 1}}, "population.size"),
        ({"image_shape": (5, 5), "settings": ROWS}, "image_shape"),
        ({"runs": "/proc/nothing", "settings": TINY}, "cannot be written|must be writable"),
    ],
)
def test_wrong_settings_are_one_line(images: np.ndarray, arguments: dict[str, Any], words: str) -> None:
    inputs = images.reshape(96, -1) if "image_shape" in arguments else images
    with pytest.raises(UserError, match=words):
        RPUVAE(**{"settings": TINY, **arguments}).fit(inputs)
