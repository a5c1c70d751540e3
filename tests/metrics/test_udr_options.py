"""What the other rankings add, shown on representations made up for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from pbt_disent.errors import UserError
from pbt_disent.metrics import coverage_udr, matched_udr, population_udr, udr
from pbt_disent.types import FloatArray

POINTS = 400


def uncorrelated(count: int, seed: int = 0) -> FloatArray:
    raw = np.random.default_rng(seed).normal(size=(POINTS, count))
    return np.asarray(np.linalg.svd(raw - raw.mean(axis=0), full_matrices=False)[0] * np.sqrt(POINTS))


def test_coverage_counts_the_shared_latents() -> None:
    codes = np.stack([uncorrelated(6)] * 3)
    all_six, one = np.ones((3, 6)), np.tile(np.arange(6) == 0, (3, 1)) * 1.0
    plain = [udr(codes, information) for information in (one, all_six)]
    assert plain[0].score == pytest.approx(plain[1].score)
    assert coverage_udr(plain[0]).score == pytest.approx(0.9)
    assert coverage_udr(plain[1]).score == pytest.approx(5.4)
    np.testing.assert_array_equal(coverage_udr(plain[1]).matched, 6 * (1 - np.eye(3)))
    with pytest.raises(UserError, match=r"share=0\.2"):
        coverage_udr(plain[0], share=0.2)


def test_matching_refuses_a_shared_partner() -> None:
    sources = uncorrelated(2)
    clean = sources
    doubled = np.stack([sources[:, 0], sources[:, 0]], axis=1)
    ranking = udr(np.stack([clean, doubled]), np.ones((2, 2)), "spearman")
    # Both latents of the second model follow the first latent of the first: only one may be matched.
    assert matched_udr(ranking).pairwise[0, 1] < 0.65 * ranking.pairwise[0, 1] / 0.75
    same = udr(np.stack([clean, clean[:, ::-1]]), np.ones((2, 2)))
    assert matched_udr(same).score == pytest.approx(same.score)


def test_population_ranks_members_with_few_replicas() -> None:
    rng = np.random.default_rng(5)
    sources = uncorrelated(4, 3)
    quality = np.linspace(0.0, 1.0, 8)
    models = []
    for share in quality:
        for _ in range(2):
            turn = np.linalg.qr((1 - share) * rng.normal(size=(4, 4)) + 3 * share * np.eye(4))[0]
            models.append(sources @ turn + 0.1 * rng.normal(size=(POINTS, 4)))
    codes, members = np.stack(models), np.repeat(np.arange(8), 2)
    whole = population_udr(udr(codes, np.ones((16, 4)), budget="fast"), members)
    alone = [udr(codes[members == m], np.ones((2, 4)), budget="fast").score for m in range(8)]
    np.testing.assert_array_equal(whole.members, np.arange(8))
    by_population = spearmanr(whole.member_scores, quality).statistic
    assert by_population > 0.8
    assert by_population >= spearmanr(alone, quality).statistic


def test_population_needs_a_member_per_model() -> None:
    ranking = udr(np.stack([uncorrelated(3)] * 3), np.ones((3, 3)))
    with pytest.raises(UserError, match="member of every model"):
        population_udr(ranking, np.zeros(2, dtype=np.int64))
    with pytest.raises(UserError, match="quantile=2"):
        population_udr(ranking, np.zeros(3, dtype=np.int64), quantile=2)
