"""Mutual information and the gaps built on it: oracles, ceilings, known biases and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score as pair_information

from pbt_disent.errors import UserError
from pbt_disent.metrics import (
    discretise,
    leaf_mig,
    leaf_run_mig,
    leaf_runs_mig,
    mig,
    mig_sup,
    modularity,
    mutual_info_score,
    mutual_information_matrix,
    nmig,
)
from pbt_disent.types import FloatArray, IntArray


def grid(*levels: int) -> IntArray:
    """Return every combination of factor values once."""
    return np.stack(np.meshgrid(*map(np.arange, levels), indexing="ij"), axis=-1).reshape(-1, len(levels))


def entangled(seed: int, points: int = 400) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    factors = rng.integers([3, 5, 7], size=(points, 3))
    return factors @ rng.normal(size=(3, 4)) + 0.5 * rng.normal(size=(points, 4)), factors


def test_matrix_equals_scikit_learn_pair_by_pair() -> None:
    codes, factors = entangled(0)
    binned = np.stack([np.digitize(x, np.histogram(x, 20)[1][:-1]) for x in codes.T])
    result = mutual_information_matrix(codes, factors)
    for j in range(4):
        for k in range(3):
            assert result[j, k] == pytest.approx(pair_information(factors[:, k], binned[j]), abs=1e-12)


@pytest.mark.parametrize(("levels", "ceiling"), [(4, 1.0), (20, 1.0), (32, 0.85), (40, 0.81)])
def test_twenty_bins_cap_a_perfect_code(levels: int, ceiling: float) -> None:
    factors = grid(levels, 5)
    assert mig(factors.astype(float), factors).per_factor[0] == pytest.approx(ceiling, abs=0.005)


def test_outliers_break_equal_width_bins_and_not_the_others() -> None:
    factors = np.random.default_rng(0).integers(10, size=(5000, 1))
    codes = factors + 0.0
    codes[:3] = 60.0
    assert mig(codes, factors).score < 0.65
    assert mig(codes, factors, estimator="quantile").score > 0.98
    assert mig(codes, factors, estimator="knn").score > 0.95


@pytest.mark.parametrize("points", [4000, 16000])
def test_plug_in_information_of_independent_variables_is_biased_as_miller_and_madow_say(points: int) -> None:
    estimates = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        codes, factors = rng.uniform(size=(points, 1)), rng.integers(20, size=(points, 1))
        estimates.append(mutual_information_matrix(codes, factors)[0, 0])
    assert np.mean(estimates) == pytest.approx(19 * 19 / (2 * points), rel=0.1)


def test_fifty_points_make_more_than_half_the_entropy_out_of_nothing() -> None:
    rng = np.random.default_rng(0)
    assert mig(rng.uniform(size=(50, 1)), rng.integers(20, size=(50, 1))).score > 0.5


def test_mig_by_hand() -> None:
    factors = grid(2, 2)[np.repeat(np.arange(4), 10)]
    codes = np.stack([factors[:, 0], factors[:, 0], 2.0 * factors[:, 0] + factors[:, 1]], axis=1)
    result = mig(codes, factors)
    # Latent 2 tells both factors apart (ln 2 of each), latents 0 and 1 only factor 0.
    np.testing.assert_allclose(result.mutual_information / np.log(2), [[1, 0], [1, 0], [1, 1]], atol=1e-12)
    np.testing.assert_allclose(result.per_factor, [0, 1], atol=1e-12)
    assert result.score == pytest.approx(0.5)
    assert result.latent_of_factor[1] == 2


def test_four_cases_that_tell_mig_from_mig_sup() -> None:
    factors = grid(4, 4)[np.repeat(np.arange(16), 5)]
    one, two = factors[:, 0] - 1.5, factors[:, 1] - 1.5
    noise = np.zeros(len(one))
    perfect = np.stack([one, two, noise], axis=1)
    copied = np.stack([one, one, two], axis=1)
    merged = np.stack([4 * one + two, noise, noise], axis=1)
    assert mig(perfect, factors).score == pytest.approx(1)
    assert mig_sup(perfect, factors).score == pytest.approx(1)
    np.testing.assert_array_equal(mig_sup(perfect, factors).active, [True, True, False])
    np.testing.assert_allclose(mig(copied, factors).per_factor, [0, 1], atol=1e-12)
    assert mig_sup(copied, factors).score == pytest.approx(1)
    assert mig(merged, factors).score == pytest.approx(1)
    assert mig_sup(merged, factors).score == pytest.approx(0, abs=1e-12)
    assert mig_sup(np.zeros((80, 3)), factors).score == 0
    unequal = grid(2, 8)[np.repeat(np.arange(16), 5)]
    assert mig_sup((8 * unequal[:, 0] + unequal[:, 1])[:, None] * 1.0, unequal).score == pytest.approx(0, abs=1e-12)


def test_one_factor_split_over_bit_and_remainder() -> None:
    factor = np.repeat(np.arange(40), 50)
    codes = np.stack([factor // 20, factor % 20], axis=1) * 1.0
    result = mig(codes, factor[:, None])
    np.testing.assert_allclose(result.mutual_information[:, 0], [np.log(2), np.log(20)], atol=1e-9)
    assert result.score == pytest.approx((np.log(20) - np.log(2)) / np.log(40), abs=1e-9)
    both = np.stack([factor, np.tile(np.arange(50), 40)], axis=1)
    np.testing.assert_allclose(mig_sup(codes, both).per_latent, np.log([2, 20]) / np.log(40), atol=1e-9)
    assert mutual_info_score(codes).score == pytest.approx(0, abs=1e-12)


def test_modularity_by_hand_and_without_knowledge() -> None:
    factors = grid(2, 2)[np.repeat(np.arange(4), 10)]
    codes = np.stack([factors[:, 0], factors.sum(axis=1), np.full(40, 0.3)], axis=1)
    result = modularity(codes, factors)
    np.testing.assert_allclose(result.per_latent, [1, 0, 0], atol=1e-12)
    assert modularity(codes[:, :1], factors[:, :1]).score == 1


def test_bins_of_a_constant_and_of_ties() -> None:
    codes = np.stack([np.full(30, 0.1), np.repeat([0.0, 1.0, 2.0], 10)], axis=1)
    for method in ("equal_width", "quantile"):
        binned = discretise(codes, 20, method)
        assert len(np.unique(binned[:, 0])) == 1
        assert len(np.unique(binned[:, 1])) == 3
    np.testing.assert_array_equal(discretise(np.arange(40.0)[:, None], 20)[:, 0], np.arange(40) * 20 // 39.0000001)


def test_leaf_mig_of_one_level_is_mig() -> None:
    codes, factors = entangled(1)
    assert leaf_mig(codes, factors * 0.37 - 2).score == pytest.approx(mig(codes, factors).score, abs=1e-12)
    np.testing.assert_allclose(leaf_mig(codes, factors).per_column, mig(codes, factors).per_factor, atol=1e-12)


def test_leaf_mig_bins_the_labels_too() -> None:
    factor = np.repeat(np.arange(40.0), 20)[:, None]
    assert leaf_mig(factor, factor).score == pytest.approx(1.0)
    assert mig(factor, factor).score < 0.82


def test_leaf_run_is_the_mean_over_columns_and_runs_their_median() -> None:
    codes, factors = entangled(2)
    few_codes, few_factors = entangled(3, 100)
    levels = [(codes, factors), (few_codes, few_factors[:, :1])]
    gaps = [*mig(codes, factors).per_factor, *mig(few_codes, few_factors[:, :1]).per_factor]
    run = leaf_run_mig(levels)
    np.testing.assert_allclose(run.per_column, gaps, atol=1e-12)
    np.testing.assert_array_equal(run.level_of_column, [0, 0, 0, 1])
    assert run.score == pytest.approx(np.mean(gaps))
    assert run.provenance.samples == {"level0": 400, "level1": 100}
    singles = [leaf_run_mig([level]).score for level in levels]
    runs = leaf_runs_mig([levels, levels[:1], levels[1:]])
    assert runs.score == pytest.approx(np.median([run.score, *singles]))
    with pytest.raises(UserError, match="without levels"):
        leaf_run_mig([])
    with pytest.raises(UserError, match="no leaf run"):
        leaf_runs_mig([])
    with pytest.raises(UserError, match="level 1 with 100 codes and 99 labels"):
        leaf_run_mig([levels[0], (few_codes, few_factors[:-1])])


def test_nmig_draws_the_same_labelled_points_for_every_model() -> None:
    codes, factors = entangled(4, 5000)
    assert nmig(codes, factors).score == mig(codes, factors).score
    few = nmig(codes, factors, num_train=200, seed=1)
    assert few.provenance.samples == {"points": 200}
    assert few.score == nmig(codes, factors, num_train=200, seed=1).score
    assert few.score != nmig(codes, factors, num_train=200, seed=2).score
    np.testing.assert_array_equal(
        few.factor_entropy, nmig(codes[::-1].copy(), factors, num_train=200, seed=1).factor_entropy
    )
    with pytest.raises(UserError, match="num_train=5: must be at least 20"):
        nmig(codes, factors, num_train=5)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.25, 2.0, 1024.0]))
def test_order_sign_and_scale_of_latents_do_not_matter(seed: int, scale: float) -> None:
    codes, factors = entangled(seed)
    rng = np.random.default_rng(seed)
    order, shift = rng.permutation(4), rng.permutation(3)
    for function in (mig, modularity):
        score = function(codes, factors).score
        assert 0 <= score <= 1
        assert function(codes[:, order] * scale, factors[:, shift]).score == pytest.approx(score, abs=1e-12)
        rows = rng.permutation(len(codes))
        assert function(codes[rows], factors[rows]).score == pytest.approx(score, abs=1e-12)
    # A sign turns half-open bins around: values on an edge, the largest among them, may change bins.
    assert mig(-codes, factors).score == pytest.approx(mig(codes, factors).score, abs=0.02)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_perfect_codes_reach_the_bound_and_independent_ones_do_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.integers([4, 10, 16], size=(4000, 3))
    perfect = factors[:, rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
    assert mig(perfect, factors).score > 0.97
    assert modularity(perfect, factors).score > 0.99
    assert mig(rng.normal(size=(4000, 3)), factors).score < 0.02
