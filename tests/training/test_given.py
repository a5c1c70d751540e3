"""Which labels and pairs an objective is told: by the data and the config, never by the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pbt_disent import data
from pbt_disent.config import ObjectiveConfig, SupervisionConfig
from pbt_disent.data.base import ImageData
from pbt_disent.errors import UserError
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.given import given_to, labelled_factors, with_classes
from pbt_disent.training.supervision import draw_partners


@pytest.fixture
def world() -> ImageData:
    return data.load("sprites", size=32, grid={"shape": 3, "scale": 1, "orientation": 4, "x": 5, "y": 5})


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def factors_of(world: ImageData) -> np.ndarray:
    factors = world.factors(np.arange(len(world)))
    assert factors is not None
    return factors


def test_default_factors(world: ImageData) -> None:
    names = world.factor_names
    told = labelled_factors(SupervisionConfig(), world, enumerated=True)
    assert [names[column] for column in told] == ["shape", "orientation"]
    pairs = labelled_factors(SupervisionConfig(), world, enumerated=False)
    assert [names[column] for column in pairs] == ["shape", "orientation", "x", "y"]
    assert with_classes(ObjectiveConfig(name="ssdgm"), SupervisionConfig(), world).values["classes"] == [3, 4]
    given = ObjectiveConfig(name="ssdgm", classes=[3, 5])
    assert with_classes(given, SupervisionConfig(), world) == given
    other = ObjectiveConfig(name="vae")
    assert with_classes(other, SupervisionConfig(), world) == other


def test_a_share_of_the_training_images_is_labelled(world: ImageData, blobs: BlobStore) -> None:
    supervision = SupervisionConfig(factors=("shape",), share=0.1)
    training = np.arange(0, len(world), 2)
    digests = given_to(["ssdgm"], supervision, world, training, blobs)
    labels = blobs.get_array(digests["labels"])
    assert labels.shape == (len(world), 1)
    assert (labels[1::2] == -1).all()
    known = labels[:, 0] >= 0
    assert known.sum() == round(0.1 * len(training))
    np.testing.assert_array_equal(labels[known, 0], factors_of(world)[known, world.factor_names.index("shape")])
    assert given_to(["ssdgm"], supervision, world, training, blobs) == digests


def test_partners_agree_in_all_but_the_free_labels(world: ImageData, blobs: BlobStore) -> None:
    training = np.flatnonzero(np.arange(len(world)) % 10 > 0)
    supervision = SupervisionConfig(partners=6, differing=2)
    digests = given_to(["adagvae"], supervision, world, training, blobs)
    partners = blobs.get_array(digests["partners"])
    assert partners.shape == (len(world), 6)
    assert np.isin(partners[training], training).all()
    factors = factors_of(world)
    different = (factors[training][:, None] != factors[partners[training]]).sum(2)
    assert different.max() == 2
    assert (different.min(1) > 0).mean() > 0.5


def test_every_partner_is_drawn_from_its_group() -> None:
    labels = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [5, 9]])
    partners = draw_partners(labels, 40, 1, np.random.default_rng(0))
    assert set(partners[0]) == {1, 2, 3}
    assert set(partners[5]) == {5}


def test_nothing_is_read_for_other_objectives(
    world: ImageData, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(world), "factors", lambda self, indices: pytest.fail("factors were read"))
    assert given_to(["betatcvae"], SupervisionConfig(), world, None, blobs) == {}


def test_bad_supervision(world: ImageData, blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'shpae': is no factor.*shape"):
        given_to(["ssdgm"], SupervisionConfig(factors=("shpae",)), world, None, blobs)
    with pytest.raises(UserError, match=r"supervision\.differing=2: must be at most 1"):
        given_to(["adagvae"], SupervisionConfig(factors=("shape",), differing=2), world, None, blobs)
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).integers(0, 255, (9, 8, 8), dtype=np.uint8))
    plain = data.load(tmp_path / "plain.npy")
    with pytest.raises(UserError, match="has no labels, which this run needs"):
        given_to(["ssdgm"], SupervisionConfig(), plain, None, blobs)


@pytest.mark.parametrize("classes", [[2, 4], [3], [3, 4, 1]])
def test_described_latents_must_fit_the_labels(world: ImageData, classes: list[int]) -> None:
    """Before anything of a run is written."""
    message = r"objective\.classes=.*must have room for each of the labels shape \(3\), orientation \(4\)"
    with pytest.raises(UserError, match=message):
        with_classes(ObjectiveConfig(name="ssdgm", classes=classes), SupervisionConfig(), world)


def test_pairs_cannot_differ_in_more_labels_than_there_are(world: ImageData) -> None:
    supervision = SupervisionConfig(factors=("shape",), differing=2)
    with pytest.raises(UserError, match=r"supervision\.differing=2: must be at most 1"):
        with_classes(ObjectiveConfig(name="adagvae"), supervision, world)
