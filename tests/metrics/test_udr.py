"""UDR against the reference, its known values and its symmetries; what the rankings built on it add."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import ortho_group, spearmanr

from pbt_disent.errors import UserError
from pbt_disent.metrics import coverage_udr, matched_udr, population_udr, udr
from pbt_disent.types import FloatArray

POINTS = 1000


def informative(models: int, latents: int) -> FloatArray:
    return np.ones((models, latents))


def uncorrelated(count: int, seed: int = 0, points: int = POINTS) -> FloatArray:
    """Return codes (points, count) that are exactly uncorrelated, with mean 0 and variance 1."""
    raw = np.random.default_rng(seed).normal(size=(points, count))
    left = np.linalg.svd(raw - raw.mean(axis=0), full_matrices=False)[0]
    return np.asarray(left * np.sqrt(points))


def defined(values: list[Any]) -> FloatArray:
    """Where the reference has no value, in pairs of models without information, ours is 0."""
    return np.nan_to_num(np.array(values, dtype=np.float64))


@pytest.mark.parametrize("kind", ["lasso", "spearman"])
def test_equals_the_reference(rankings: list[Any], kind: str) -> None:
    for case in rankings:
        result = udr(case.codes, case.information, kind)
        np.testing.assert_allclose(result.correlations, np.nan_to_num(case.raw[kind]), atol=1e-6)
        pairwise, scores = (defined(case.expected[kind][part]) for part in ("pairwise", "model_scores"))
        np.testing.assert_allclose(result.pairwise, pairwise, atol=1e-6)
        np.testing.assert_allclose(result.model_scores, scores, atol=1e-6)
        assert result.score == pytest.approx(np.mean(scores), abs=1e-6)


def test_fast_is_the_optimum_near_the_reference(rankings: list[Any]) -> None:
    for case in rankings:
        result = udr(case.codes, case.information, budget="fast")
        assert result.provenance.budget == "fast"
        np.testing.assert_allclose(result.correlations, case.raw["lasso"], atol=2.5e-3)
        np.testing.assert_allclose(result.model_scores, case.expected["lasso"]["model_scores"], atol=1e-3)


def test_equal_models_up_to_permutation_and_sign_score_one_minus_alpha() -> None:
    factors = uncorrelated(6)
    rng = np.random.default_rng(1)
    codes = np.stack([factors[:, rng.permutation(6)] * rng.choice([-1, 1], 6) for _ in range(5)])
    result = udr(codes, informative(5, 6))
    np.testing.assert_allclose(result.model_scores, 0.9, atol=1e-9)
    assert udr(codes, informative(5, 6), alpha=0.3).score == pytest.approx(0.7, abs=1e-9)


def test_known_values_of_constructed_models() -> None:
    rng = np.random.default_rng(3)
    factors = rng.uniform(-1.7, 1.7, size=(POINTS, 6))
    noisy = [factors + 0.05 * rng.normal(size=factors.shape) for _ in range(5)]
    one_informative = np.where(np.arange(6) == 0, 1.0, 0.0) * informative(5, 6)
    rotation = ortho_group.rvs(6, random_state=0)
    rotations = [ortho_group.rvs(6, random_state=i) for i in range(5)]
    assert udr(np.stack(noisy), informative(5, 6)).score == pytest.approx(0.897, abs=0.01)
    assert udr(np.stack(noisy), one_informative).score == pytest.approx(0.897, abs=0.01)
    assert udr(np.stack([x @ rotation for x in noisy]), informative(5, 6)).score == pytest.approx(0.897, abs=0.01)
    different = udr(np.stack([x @ turn for x, turn in zip(noisy, rotations, strict=True)]), informative(5, 6))
    assert different.score == pytest.approx(0.24, abs=0.06)


def test_pair_score_of_rectangular_masks_by_hand() -> None:
    factors = uncorrelated(3)
    codes = np.stack([factors, factors])
    information = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    result = udr(codes, information)
    # One relation of strength 0.9: the model with one latent is explained (0.9), the other by half (0.9 / 2).
    np.testing.assert_allclose(result.pairwise, [[0.0, 0.675], [0.675, 0.0]], atol=1e-9)
    np.testing.assert_array_equal(result.active, [[True, True, False], [True, False, False]])


def test_model_score_is_the_median_over_the_column() -> None:
    result = udr(np.random.default_rng(5).normal(size=(4, 200, 3)) @ np.ones((3, 3)) + 0.0, informative(4, 3))
    for i in range(4):
        assert result.model_scores[i] == np.median(np.delete(result.pairwise[:, i], i))


def test_spearman_equals_scipy_with_ties_and_constants() -> None:
    rng = np.random.default_rng(2)
    codes = np.round(rng.normal(size=(2, 60, 3)), 1)
    codes[0, :, 2] = 0.3
    result = udr(codes, informative(2, 3), "spearman").correlations
    for a in range(2):
        for b in range(3):
            assert result[0, 1, a, b] == pytest.approx(
                abs(spearmanr(codes[0, :, a], codes[1, :, b]).statistic), abs=1e-12
            )
    assert not result[0, 1, 2].any()


@pytest.mark.parametrize("kind", ["lasso", "spearman"])
def test_collapsed_models_score_zero(kind: str) -> None:
    codes = np.random.default_rng(0).normal(size=(3, 100, 4))
    assert not udr(codes, np.zeros((3, 4)), kind).model_scores.any()
    one_dead = udr(codes, np.array([[1.0] * 4, [1.0] * 4, [0.0] * 4]), kind)
    assert one_dead.model_scores[2] == 0
    assert not one_dead.pairwise[2].any()
    assert np.isfinite(one_dead.model_scores).all()
    assert not udr(np.full((2, 100, 4), 0.1), informative(2, 4), kind).pairwise.any()


def test_threshold_itself_counts_as_uninformative() -> None:
    codes = np.random.default_rng(0).normal(size=(2, 100, 2))
    assert not udr(codes, np.full((2, 2), 0.01)).active.any()
    assert udr(codes, np.full((2, 2), 0.01), threshold=0.009).active.all()


def test_same_bits_twice() -> None:
    codes = np.random.default_rng(0).normal(size=(4, 200, 5))
    first, second = (udr(codes, informative(4, 5)) for _ in range(2))
    assert first.correlations.tobytes() == second.correlations.tobytes()
    assert first.model_scores.tobytes() == second.model_scores.tobytes()


def test_coverage_counts_the_shared_latents() -> None:
    codes = np.stack([uncorrelated(6, points=400)] * 3)
    all_six, one = np.ones((3, 6)), np.tile(np.arange(6) == 0, (3, 1)) * 1.0
    plain = [udr(codes, information) for information in (one, all_six)]
    assert plain[0].score == pytest.approx(plain[1].score)
    assert coverage_udr(plain[0]).score == pytest.approx(0.9)
    assert coverage_udr(plain[1]).score == pytest.approx(5.4)
    np.testing.assert_array_equal(coverage_udr(plain[1]).matched, 6 * (1 - np.eye(3)))
    with pytest.raises(UserError, match=r"share=0\.2"):
        coverage_udr(plain[0], share=0.2)


def test_matching_refuses_a_shared_partner() -> None:
    sources = uncorrelated(2, points=400)
    clean = sources
    doubled = np.stack([sources[:, 0], sources[:, 0]], axis=1)
    ranking = udr(np.stack([clean, doubled]), np.ones((2, 2)), "spearman")
    # Both latents of the second model follow the first latent of the first: only one may be matched.
    assert matched_udr(ranking).pairwise[0, 1] < 0.65 * ranking.pairwise[0, 1] / 0.75
    same = udr(np.stack([clean, clean[:, ::-1]]), np.ones((2, 2)))
    assert matched_udr(same).score == pytest.approx(same.score)


def test_population_ranks_members_with_few_replicas() -> None:
    rng = np.random.default_rng(5)
    sources = uncorrelated(4, 3, points=400)
    quality = np.linspace(0.0, 1.0, 8)
    models = []
    for share in quality:
        for _ in range(2):
            turn = np.linalg.qr((1 - share) * rng.normal(size=(4, 4)) + 3 * share * np.eye(4))[0]
            models.append(sources @ turn + 0.1 * rng.normal(size=(400, 4)))
    codes, members = np.stack(models), np.repeat(np.arange(8), 2)
    whole = population_udr(udr(codes, np.ones((16, 4)), budget="fast"), members)
    alone = [udr(codes[members == m], np.ones((2, 4)), budget="fast").score for m in range(8)]
    np.testing.assert_array_equal(whole.members, np.arange(8))
    by_population = spearmanr(whole.member_scores, quality).statistic
    assert by_population > 0.8
    assert by_population >= spearmanr(alone, quality).statistic


def test_population_needs_a_member_per_model() -> None:
    ranking = udr(np.stack([uncorrelated(3, points=400)] * 3), np.ones((3, 3)))
    with pytest.raises(UserError, match="member of every model"):
        population_udr(ranking, np.zeros(2, dtype=np.int64))
    with pytest.raises(UserError, match="quantile=2"):
        population_udr(ranking, np.zeros(3, dtype=np.int64), quantile=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": np.ones((1, 50, 3)), "information": np.ones((1, 3))}, "at least two models"),
        ({"codes": np.ones((50, 3))}, r"must have shape \(M, N, Z\)"),
        ({"codes": np.full((2, 50, 3), np.nan)}, "300 NaN or infinite values: must be finite"),
        ({"codes": np.ones((2, 5, 3))}, "5 points: needs at least 10"),
        ({"codes": np.ones((2, 20, 30))}, "more latents"),
        ({"information": np.ones((3, 2))}, r"must be \(M, Z\) = \(2, 3\)"),
        ({"information": np.full((2, 3), np.inf)}, "information with NaN or infinite"),
        ({"correlation": "laso"}, "did you mean 'lasso'"),
        ({"budget": "fats"}, "did you mean 'fast'"),
        ({"alpha": 0.0}, "alpha=0.0: must be positive"),
    ],
)
def test_bad_input_is_one_clear_error(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"codes": np.ones((2, 50, 3)), "information": np.ones((2, 3))}
    with pytest.raises(UserError, match=message):
        udr(**{**good, **change})
