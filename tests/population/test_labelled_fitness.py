"""Ranking by labels: a model that holds the factors beats one that mixes them, by every metric offered."""

from __future__ import annotations

import numpy as np
import pytest

from pbt_disent.metrics import mig
from pbt_disent.population.fitness import FITNESS, MemberCodes

ROTATION = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])


@pytest.mark.parametrize("metric", ["mig", "nmig", "dci"])
def test_aligned_codes_rank_first(metric: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.column_stack([rng.integers(4, size=600), rng.integers(5, size=600), np.zeros(600, dtype=np.int64)])
    aligned = labels[:, :2] + 0.05 * rng.standard_normal((600, 2))
    codes = [np.stack([aligned, aligned @ ROTATION]), np.stack([aligned @ ROTATION] * 2)]
    members = [MemberCodes(i, replicas.astype(np.float32), np.ones((2, 2))) for i, replicas in enumerate(codes)]
    probe_labels = [[(np.arange(600), labels)]]
    first, second = FITNESS[metric]().score(members, probe_labels)
    assert first.replica_scores[0] > first.replica_scores[1] + 0.2
    assert first.score == pytest.approx(np.mean(first.replica_scores))
    assert first.score > second.score
    assert ("bins" in FITNESS[metric].model_fields) == (metric != "dci")
    if metric != "dci":
        assert FITNESS[metric].model_validate({"bins": 2}).score(members, probe_labels)[0].score != first.score
    if metric == "mig":
        assert first.replica_scores[0] == pytest.approx(mig(codes[0][0].astype(np.float32), labels[:, :2]).score)
