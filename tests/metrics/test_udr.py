"""UDR against the reference, its known values and its symmetries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import ortho_group, spearmanr

from pbt_disent.errors import UserError
from pbt_disent.metrics import udr
from pbt_disent.types import FloatArray

POINTS = 1000


def informative(models: int, latents: int) -> FloatArray:
    return np.ones((models, latents))


def shared_factors(count: int) -> FloatArray:
    """Return codes (POINTS, count) that are exactly uncorrelated, with mean 0 and variance 1."""
    raw = np.random.default_rng(0).normal(size=(POINTS, count))
    left = np.linalg.svd(raw - raw.mean(axis=0), full_matrices=False)[0]
    return np.asarray(left * np.sqrt(POINTS))


def defined(values: list[Any]) -> FloatArray:
    """Where the reference has no value, in pairs of models without information, ours is 0."""
    return np.nan_to_num(np.array(values, dtype=np.float64))


@pytest.mark.parametrize("kind", ["lasso", "spearman"])
def test_equals_the_reference(rankings: list[Any], kind: str) -> None:
    for case in rankings:
        found = udr(case.codes, case.information, kind)
        np.testing.assert_allclose(found.correlations, np.nan_to_num(case.raw[kind]), atol=1e-6)
        pairwise, scores = (defined(case.expected[kind][part]) for part in ("pairwise", "model_scores"))
        np.testing.assert_allclose(found.pairwise, pairwise, atol=1e-6)
        np.testing.assert_allclose(found.model_scores, scores, atol=1e-6)
        assert found.score == pytest.approx(np.mean(scores), abs=1e-6)


def test_fast_is_the_optimum_near_the_reference(rankings: list[Any]) -> None:
    for case in rankings:
        found = udr(case.codes, case.information, budget="fast")
        assert found.provenance.budget == "fast"
        np.testing.assert_allclose(found.correlations, case.raw["lasso"], atol=2.5e-3)
        np.testing.assert_allclose(found.model_scores, case.expected["lasso"]["model_scores"], atol=1e-3)


def test_equal_models_up_to_permutation_and_sign_score_one_minus_alpha() -> None:
    factors = shared_factors(6)
    rng = np.random.default_rng(1)
    codes = np.stack([factors[:, rng.permutation(6)] * rng.choice([-1, 1], 6) for _ in range(5)])
    found = udr(codes, informative(5, 6))
    np.testing.assert_allclose(found.model_scores, 0.9, atol=1e-9)
    assert udr(codes, informative(5, 6), alpha=0.3).score == pytest.approx(0.7, abs=1e-9)


def test_known_values_of_constructed_models() -> None:
    rng = np.random.default_rng(3)
    factors = rng.uniform(-1.7, 1.7, size=(POINTS, 6))
    noisy = [factors + 0.05 * rng.normal(size=factors.shape) for _ in range(5)]
    one = np.where(np.arange(6) == 0, 1.0, 0.0) * informative(5, 6)
    rotation = ortho_group.rvs(6, random_state=0)
    rotations = [ortho_group.rvs(6, random_state=i) for i in range(5)]
    assert udr(np.stack(noisy), informative(5, 6)).score == pytest.approx(0.897, abs=0.01)
    assert udr(np.stack(noisy), one).score == pytest.approx(0.897, abs=0.01)
    assert udr(np.stack([x @ rotation for x in noisy]), informative(5, 6)).score == pytest.approx(0.897, abs=0.01)
    different = udr(np.stack([x @ turn for x, turn in zip(noisy, rotations, strict=True)]), informative(5, 6))
    assert different.score == pytest.approx(0.24, abs=0.06)


def test_pair_score_of_rectangular_masks_by_hand() -> None:
    factors = shared_factors(3)
    codes = np.stack([factors, factors])
    information = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    found = udr(codes, information)
    # One relation of strength 0.9: the model with one latent is explained (0.9), the other by half (0.9 / 2).
    np.testing.assert_allclose(found.pairwise, [[0.0, 0.675], [0.675, 0.0]], atol=1e-9)
    np.testing.assert_array_equal(found.active, [[True, True, False], [True, False, False]])


def test_model_score_is_the_median_over_the_column() -> None:
    found = udr(np.random.default_rng(5).normal(size=(4, 200, 3)) @ np.ones((3, 3)) + 0.0, informative(4, 3))
    for i in range(4):
        assert found.model_scores[i] == np.median(np.delete(found.pairwise[:, i], i))


def test_spearman_equals_scipy_with_ties_and_constants() -> None:
    rng = np.random.default_rng(2)
    codes = np.round(rng.normal(size=(2, 60, 3)), 1)
    codes[0, :, 2] = 0.3
    found = udr(codes, informative(2, 3), "spearman").correlations
    for a in range(2):
        for b in range(3):
            assert found[0, 1, a, b] == pytest.approx(
                abs(spearmanr(codes[0, :, a], codes[1, :, b]).statistic), abs=1e-12
            )
    assert not found[0, 1, 2].any()


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
