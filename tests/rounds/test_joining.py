"""Latents of different leaf runs become one factor where they say the same of the images that they share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pbt_disent.errors import UserError
from pbt_disent.rounds.joining import LatentCodes, join_latents
from pbt_disent.rounds.labels import TREE_NAME, RoundTree, label_images
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask
from pbt_disent.types import FloatArray, IntArray
from tests.rounds.test_method import FACTORS, Oracle, run


def latent_codes(path: str, latent: int, images: np.ndarray, values: np.ndarray) -> LatentCodes:
    return LatentCodes((path, latent), images, values)


def test_the_final_model_stands_between_runs_that_share_no_image() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((200, 2))
    first_images, second_images = np.arange(90), np.arange(100, 200)
    latents = [
        latent_codes("0/leaf1/1", 4, first_images, truth[first_images, 0]),
        latent_codes("0/leaf1/1", 5, first_images, truth[first_images, 1] + 0.1 * rng.standard_normal(90)),
        latent_codes("0/leaf2/1", 0, second_images, -np.exp(truth[second_images, 0])),
        latent_codes("0/leaf2/1", 1, second_images, rng.standard_normal(100)),
    ]
    assert [factor.members for factor in join_latents(latents)] == [(codes.latent,) for codes in latents]
    final = [latent_codes("final", latent, np.arange(200), truth[:, latent]) for latent in range(2)]
    first, second, alone = join_latents([*latents, *final])
    assert first.members == (("0/leaf1/1", 4), ("0/leaf2/1", 0), ("final", 0))
    assert first.signs == (1, -1, 1)
    assert first.agreement == pytest.approx(1)
    assert second.members == (("0/leaf1/1", 5), ("final", 1))
    assert 0.9 < second.agreement < 1
    assert alone.members == (("0/leaf2/1", 1),)


def test_shared_images_are_enough_and_two_latents_of_a_model_stay_apart() -> None:
    values = np.random.default_rng(0).standard_normal(60)
    images = np.arange(60)
    twins = [latent_codes("a", 0, images, values), latent_codes("a", 1, images, values + 0.01)]
    joined = join_latents([*twins, latent_codes("b", 0, images[20:], -values[20:])])
    assert [len(factor.members) for factor in joined] == [2, 1]
    few = join_latents([twins[0], latent_codes("b", 0, np.arange(50, 70), values[:20])])
    assert [len(factor.members) for factor in few] == [1, 1]
    still = join_latents([twins[0], latent_codes("b", 0, images, np.ones(60))])
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
    tree = RoundTree.read(tmp_path / TREE_NAME)
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
    for leaf_run, before in zip(again, result.leaf_runs, strict=True):
        assert [level.path for level in leaf_run.levels] == [level.path for level in before.levels]
        for level_again, level in zip(leaf_run.levels, before.levels, strict=True):
            for name in ("images", "codes", "segments", "confidence"):
                np.testing.assert_array_equal(getattr(level_again, name), getattr(level, name))
    some = label_images(tree, encode, np.arange(7))
    assert [len(level.images) for level in some[0].levels][:1] == [7]


def test_a_run_without_labels_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has found no labels"):
        RoundTree.read(tmp_path / "labels" / TREE_NAME)
