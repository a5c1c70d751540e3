"""Labels and pairs: which there are goes by data and config, never by the seed; only who needs them gets them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pbt_disent import data
from pbt_disent.config import SupervisionConfig
from pbt_disent.data.base import ImageData
from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES, ObjectiveOptions
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.member import Trainer
from pbt_disent.training.supervision import (
    Supervision,
    draw_partners,
    keep_labels,
    labelled_factors,
    store_supervision,
    with_classes,
)
from pbt_disent.training.tasks import NO_SUPERVISION, SupervisionDigests, TrainTask
from tests.training.bench import Bench, make_bench


def test_partners_come_from_the_table(bench: Bench) -> None:
    partners = np.stack([(np.arange(200) + shift) % 200 for shift in (1, 2)], axis=1)
    labels = np.arange(400).reshape(200, 2) - 1
    supervision = Supervision(labels, partners)
    chosen = np.array([5, 199, 0, 5])
    seen = [supervision.batch(bench.images, chosen, "cpu", np.random.default_rng(seed)) for seed in range(8)]
    expected = bench.images / np.float32(255)
    used = set()
    for batch in seen:
        np.testing.assert_array_equal(batch.images, expected[chosen])
        assert batch.labels is not None
        assert batch.label_mask is not None
        assert batch.partner is not None
        np.testing.assert_array_equal(batch.labels, labels[chosen])
        assert batch.label_mask.tolist() == [[True, True], [True, True], [False, True], [True, True]]
        for index, partner in zip(chosen, batch.partner, strict=True):
            shift = [s for s in (1, 2) if np.array_equal(partner, expected[(index + s) % 200])]
            assert shift
            used.update(shift)
    assert used == {1, 2}


def with_labels(bench: Bench, labels: np.ndarray) -> TrainTask:
    """Return the task of the bench with labels to learn from."""
    return replace(bench.task, supervision=SupervisionDigests(labels=bench.blobs.put_array(labels)))


def test_weak_supervision_trains(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "adagvae")
    digest = bench.blobs.put_array((np.arange(200)[:, None] + [[1, 20]]) % 200)
    task = replace(bench.task, supervision=SupervisionDigests(partners=digest))
    outcome = Trainer(bench.context).train(task)
    assert outcome.status == "ok"
    assert 0 < outcome.losses[0]["shared"] < 3


def test_missing_or_misshapen_supervision_is_refused_at_the_start(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "adagvae")
    with pytest.raises(UserError, match="objective adagvae: needs partners"):
        Trainer(bench.context).train(replace(bench.task, supervision=NO_SUPERVISION))
    digest = bench.blobs.put_array(np.zeros((7, 1), dtype=np.int64))
    with pytest.raises(UserError, match="one row for each of 200 images"):
        Trainer(bench.context).train(replace(bench.task, supervision=SupervisionDigests(partners=digest)))


def test_objectives_with_other_needs_learn_from_the_same_supervision(tmp_path: Path) -> None:
    bench, pairs = make_bench(tmp_path, "ssdgm"), make_bench(tmp_path, "adagvae")
    supervision = SupervisionDigests(bench.task.supervision.labels, pairs.task.supervision.partners)
    trainer = Trainer(bench.context)
    for task in (bench.task, pairs.task):
        outcome = trainer.train(replace(task, supervision=supervision))
        assert outcome == Trainer(bench.context).train(task)


def test_labels_that_are_not_declared_are_refused(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "ssdgm", classes=[6])
    for labels, message in (
        (np.zeros((200, 2), dtype=np.int64), r"2 columns of labels: must be one for each of objective.classes=\[6\]"),
        (np.full((200, 1), 6), "class 6 of label 0: must be below 6"),
    ):
        with pytest.raises(UserError, match=message):
            Trainer(bench.context).train(with_labels(bench, labels))
    known = keep_labels(np.arange(200)[:, None] % 6, 0.2, np.random.default_rng(0))
    outcome = Trainer(bench.context).train(with_labels(bench, known))
    assert outcome.status == "ok"


def test_labels_are_kept_by_image_and_by_class() -> None:
    labels = np.stack([np.arange(400) % 4, np.arange(400) % 2], axis=1)
    kept = keep_labels(labels, 0.1, np.random.default_rng(0))
    known = (kept >= 0).all(1)
    assert np.array_equal(known, (kept >= 0).any(1))
    np.testing.assert_array_equal(kept[known], labels[known])
    assert np.bincount(labels[known, 0]).tolist() == [10, 10, 10, 10]
    np.testing.assert_array_equal(kept, keep_labels(labels, 0.1, np.random.default_rng(0)))
    assert not np.array_equal(kept, keep_labels(labels, 0.1, np.random.default_rng(1)))
    assert (keep_labels(labels, 0.0, np.random.default_rng(0)) == -1).all()
    np.testing.assert_array_equal(keep_labels(labels, 1.0, np.random.default_rng(0)), labels)
    alone = np.stack(np.divmod(np.arange(400), 20), axis=1)
    assert (keep_labels(alone, 0.25, np.random.default_rng(0)) >= 0).all(1).sum() == 100
    rare = np.array([[0]] * 99 + [[1]])
    assert keep_labels(rare, 0.05, np.random.default_rng(0))[99, 0] == 1


@pytest.fixture
def world() -> ImageData:
    return data.load("sprites", size=32, grid={"shape": 3, "scale": 1, "orientation": 4, "x": 5, "y": 5})


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def options(name: str, **values: Any) -> ObjectiveOptions:
    return OBJECTIVES.options(name).model_validate(values)


def factors_of(world: ImageData) -> np.ndarray:
    factors = world.factors(np.arange(len(world)))
    assert factors is not None
    return factors


def test_default_factors(world: ImageData) -> None:
    names = world.factor_names
    enumerated = labelled_factors(SupervisionConfig(), world, enumerated=True)
    assert [names[column] for column in enumerated] == ["shape", "orientation"]
    pairs = labelled_factors(SupervisionConfig(), world, enumerated=False)
    assert [names[column] for column in pairs] == ["shape", "orientation", "x", "y"]
    assert with_classes(options("ssdgm"), SupervisionConfig(), world).settings["classes"] == [3, 4]
    given = options("ssdgm", classes=[3, 5])
    assert with_classes(given, SupervisionConfig(), world) == given
    other = options("vae")
    assert with_classes(other, SupervisionConfig(), world) == other


def test_a_share_of_the_training_images_is_labelled(world: ImageData, blobs: BlobStore) -> None:
    supervision = SupervisionConfig(factors=("shape",), share=0.1)
    training = np.arange(0, len(world), 2)
    digests = store_supervision([options("ssdgm")], supervision, world, training, blobs)
    labels = blobs.get_array(digests.labels or "")
    assert labels.shape == (len(world), 1)
    assert (labels[1::2] == -1).all()
    known = labels[:, 0] >= 0
    assert known.sum() == round(0.1 * len(training))
    np.testing.assert_array_equal(labels[known, 0], factors_of(world)[known, world.factor_names.index("shape")])
    assert store_supervision([options("ssdgm")], supervision, world, training, blobs) == digests


def test_partners_agree_in_all_but_the_free_labels(world: ImageData, blobs: BlobStore) -> None:
    training = np.flatnonzero(np.arange(len(world)) % 10 > 0)
    supervision = SupervisionConfig(partners=6, differing=2)
    digests = store_supervision([options("adagvae")], supervision, world, training, blobs)
    partners = blobs.get_array(digests.partners or "")
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
    assert store_supervision([options("betatcvae")], SupervisionConfig(), world, None, blobs) == NO_SUPERVISION


def test_bad_supervision(world: ImageData, blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'shpae': is no factor.*shape"):
        store_supervision([options("ssdgm")], SupervisionConfig(factors=("shpae",)), world, None, blobs)
    with pytest.raises(UserError, match=r"supervision\.differing=2: must be at most 1"):
        store_supervision([options("adagvae")], SupervisionConfig(factors=("shape",), differing=2), world, None, blobs)
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).integers(0, 255, (9, 8, 8), dtype=np.uint8))
    plain = data.load(tmp_path / "plain.npy")
    with pytest.raises(UserError, match="has no labels, which this run needs"):
        store_supervision([options("ssdgm")], SupervisionConfig(), plain, None, blobs)


@pytest.mark.parametrize("classes", [[2, 4], [3], [3, 4, 1]])
def test_described_latents_must_fit_the_labels(world: ImageData, classes: list[int]) -> None:
    """Before anything of a run is written."""
    message = r"objective\.classes=.*must have room for each of the labels shape \(3\), orientation \(4\)"
    with pytest.raises(UserError, match=message):
        with_classes(options("ssdgm", classes=classes), SupervisionConfig(), world)


def test_pairs_cannot_differ_in_more_labels_than_there_are(world: ImageData) -> None:
    supervision = SupervisionConfig(factors=("shape",), differing=2)
    with pytest.raises(UserError, match=r"supervision\.differing=2: must be at most 1"):
        with_classes(options("adagvae"), supervision, world)
