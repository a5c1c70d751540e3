"""Labels and pairs reach the objectives that need them, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pbt_disent.errors import UserError
from pbt_disent.training.member import Trainer
from pbt_disent.training.supervision import Supervision, keep_labels
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


def test_weak_supervision_trains(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "adagvae")
    digest = bench.blobs.put_array((np.arange(200)[:, None] + [[1, 20]]) % 200)
    outcome = Trainer(replace(bench.context, partners=digest)).train(bench.task)
    assert outcome.status == "ok"
    assert 0 < outcome.losses[0]["shared"] < 3


def test_missing_or_misshapen_supervision_is_refused_at_the_start(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "adagvae")
    with pytest.raises(UserError, match="objective adagvae: needs partners"):
        Trainer(bench.context)
    digest = bench.blobs.put_array(np.zeros((7, 1), dtype=np.int64))
    with pytest.raises(UserError, match="one row for each of 200 images"):
        Trainer(replace(bench.context, partners=digest))


def test_labels_that_are_not_declared_are_refused(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "ssdgm", classes=[6])
    for labels, message in (
        (np.zeros((200, 2), dtype=np.int64), r"2 columns of labels: must be one for each of objective.classes=\[6\]"),
        (np.full((200, 1), 6), "class 6 of label 0: must be below 6"),
    ):
        with pytest.raises(UserError, match=message):
            Trainer(replace(bench.context, labels=bench.blobs.put_array(labels)))
    known = keep_labels(np.arange(200)[:, None] % 6, 0.2, np.random.default_rng(0))
    outcome = Trainer(replace(bench.context, labels=bench.blobs.put_array(known))).train(bench.task)
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
