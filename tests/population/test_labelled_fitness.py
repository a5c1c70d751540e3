"""Ranking by labels: a model that holds the factors beats one that mixes them, by every metric offered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pbt_disent.metrics import mig
from pbt_disent.population.fitness import FITNESS, ScoredMember
from pbt_disent.store.blobs import BlobStore

ROTATION = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])


@pytest.mark.parametrize("metric", ["mig", "nmig", "dci"])
def test_aligned_codes_rank_first(tmp_path: Path, metric: str) -> None:
    blobs, rng = BlobStore(tmp_path), np.random.default_rng(0)
    labels = np.column_stack([rng.integers(4, size=600), rng.integers(5, size=600), np.zeros(600, dtype=np.int64)])
    aligned = labels[:, :2] + 0.05 * rng.standard_normal((600, 2))
    codes = [np.stack([aligned, aligned @ ROTATION]), np.stack([aligned @ ROTATION] * 2)]
    members = [
        ScoredMember(index, (blobs.put_array(one.astype(np.float32)),), ((1.0, 1.0),) * 2)
        for index, one in enumerate(codes)
    ]
    first, second = FITNESS[metric](members, {"labels": blobs.put_array(labels)}, blobs)
    assert first.replica_scores[0] > first.replica_scores[1] + 0.2
    assert first.score == pytest.approx(np.mean(first.replica_scores))
    assert first.score > second.score
    two = {"labels": blobs.put_array(labels), "bins": 2}
    assert (FITNESS[metric](members, two, blobs)[0].score == first.score) == (metric == "dci")
    if metric == "mig":
        assert first.replica_scores[0] == pytest.approx(mig(codes[0][0].astype(np.float32), labels[:, :2]).score)
