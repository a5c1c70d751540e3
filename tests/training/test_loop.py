"""Batches: whole epochs in new orders, crossing their ends."""

from __future__ import annotations

import numpy as np

from pbt_disent.training.loop import batches


def test_each_image_once_per_epoch() -> None:
    drawn = np.concatenate(list(batches(10, 4, 5, np.random.default_rng(0))))
    first, second = drawn[:10], drawn[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)


def test_indices_are_drawn_as_given() -> None:
    indices = np.array([3, 30, 300, 3000])
    drawn = list(batches(indices, 3, 4, np.random.default_rng(0)))
    assert [len(batch) for batch in drawn] == [3] * 4
    values, counts = np.unique(np.concatenate(drawn), return_counts=True)
    assert values.tolist() == indices.tolist()
    assert counts.tolist() == [3, 3, 3, 3]


def test_same_stream_same_batches() -> None:
    first, second = (list(batches(50, 8, 20, np.random.default_rng(3))) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
