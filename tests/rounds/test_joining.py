"""Latents of different leaf runs become one factor where they say the same of the images that they share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pbt_disent.errors import UserError
from pbt_disent.rounds.joining import Column, join
from pbt_disent.rounds.tree import TREE, Tree, label_images
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask
from pbt_disent.types import FloatArray, IntArray
from tests.rounds.test_method import FACTORS, Oracle, run


def column(path: str, latent: int, images: np.ndarray, values: np.ndarray) -> Column:
    return Column((path, latent), images, values)


def test_the_final_model_stands_between_runs_that_share_no_image() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((200, 2))
    one, other, every = np.arange(90), np.arange(100, 200), np.arange(200)
    columns = [
        column("0/leaf1/1", 4, one, truth[one, 0]),
        column("0/leaf1/1", 5, one, truth[one, 1] + 0.1 * rng.standard_normal(90)),
        column("0/leaf2/1", 0, other, -np.exp(truth[other, 0])),
        column("0/leaf2/1", 1, other, rng.standard_normal(100)),
    ]
    assert [factor.members for factor in join(columns)] == [(one.place,) for one in columns]
    final = [column("final", latent, every, truth[:, latent]) for latent in range(2)]
    first, second, alone = join([*columns, *final])
    assert first.members == (("0/leaf1/1", 4), ("0/leaf2/1", 0), ("final", 0))
    assert first.signs == (1, -1, 1)
    assert first.agreement == pytest.approx(1)
    assert second.members == (("0/leaf1/1", 5), ("final", 1))
    assert 0.9 < second.agreement < 1
    assert alone.members == (("0/leaf2/1", 1),)


def test_shared_images_are_enough_and_two_latents_of_a_model_stay_apart() -> None:
    values = np.random.default_rng(0).standard_normal(60)
    images = np.arange(60)
    twins = [column("a", 0, images, values), column("a", 1, images, values + 0.01)]
    joined = join([*twins, column("b", 0, images[20:], -values[20:])])
    assert [len(factor.members) for factor in joined] == [2, 1]
    few = join([twins[0], column("b", 0, np.arange(50, 70), values[:20])])
    assert [len(factor.members) for factor in few] == [1, 1]
    still = join([twins[0], column("b", 0, images, np.ones(60))])
    assert [len(factor.members) for factor in still] == [1, 1]


class Knowing(Oracle):
    """The final model knows every factor."""

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        if not self.blobs.get(task.checkpoint).startswith(b"final:"):
            return super().encode(task)
        codes = self.blobs.put_array(FACTORS[:, ::-1].astype(np.float32))
        return EncodeOutcome(codes, None, (3.0,) * 6)


def test_two_leaf_runs_are_joined_and_the_tree_labels_any_images(tmp_path: Path) -> None:
    result = run(tmp_path, Knowing)
    tree = Tree.read(tmp_path / TREE)
    assert [len(factor.members) for factor in tree.factors] == [2, 2, 3, 3, 1, 1, 1, 1]  # of the last, 15 images
    for number, factor in enumerate(tree.factors[:4]):
        latents = dict(factor.members)
        assert latents.pop("final") == 5 - number
        assert set(latents.values()) == {number}
        assert factor.signs == (1,) * len(factor.members)
    blobs = BlobStore(tmp_path / "blobs")

    def encode(checkpoint: str, images: IntArray) -> FloatArray:
        outcome = Oracle(blobs).encode(EncodeTask(checkpoint, blobs.put_array(images.astype(np.int64))))
        return np.asarray(blobs.get_array(outcome.codes))

    again = label_images(tree, encode, np.arange(len(FACTORS)))
    for leaf, before in zip(again, result.leaves, strict=True):
        assert [level.path for level in leaf.levels] == [level.path for level in before.levels]
        for one, other in zip(leaf.levels, before.levels, strict=True):
            for name in ("images", "values", "segments", "confidence"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    some = label_images(tree, encode, np.arange(7))
    assert [len(level.images) for level in some[0].levels][:1] == [7]


def test_a_run_without_labels_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has found no labels"):
        Tree.read(tmp_path / "labels" / TREE)
