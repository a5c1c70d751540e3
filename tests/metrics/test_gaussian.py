"""Gaussian total correlation and Wasserstein correlation against closed forms (arXiv 2009.05739)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from pbt_disent.errors import UserError
from pbt_disent.metrics import gaussian_total_correlation, gaussian_wasserstein_correlation
from pbt_disent.types import FloatArray


def with_covariance(covariance: FloatArray, points: int = 500) -> FloatArray:
    """Return codes whose sample covariance is exactly a given one."""
    size = len(covariance)
    raw = np.random.default_rng(0).normal(size=(points, size))
    left = np.linalg.svd(raw - raw.mean(axis=0), full_matrices=False)[0] * np.sqrt(points - 1)
    return np.asarray(left @ np.linalg.cholesky(covariance).T)


def test_two_correlated_latents() -> None:
    codes = with_covariance(np.array([[1.0, 0.8], [0.8, 1.0]]))
    assert gaussian_total_correlation(codes).score == pytest.approx(-0.5 * np.log(1 - 0.64), abs=1e-10)
    scaled = gaussian_total_correlation(codes[:, ::-1] * [3.0, -0.1]).score
    assert scaled == pytest.approx(-0.5 * np.log(1 - 0.64), abs=1e-10)


def test_uncorrelated_is_zero_and_blocks_add() -> None:
    assert gaussian_total_correlation(with_covariance(np.diag([1.0, 4.0, 9.0]))).score == pytest.approx(0, abs=1e-10)
    assert gaussian_wasserstein_correlation(with_covariance(np.diag([1.0, 4.0]))).score == pytest.approx(0, abs=1e-10)
    block = np.array([[1.0, 0.6], [0.6, 1.0]])
    both = np.block([[block, np.zeros((2, 2))], [np.zeros((2, 2)), block]])
    assert gaussian_total_correlation(with_covariance(both)).score == pytest.approx(-np.log(1 - 0.36), abs=1e-10)


def test_wasserstein_equals_the_matrix_square_root() -> None:
    covariance = np.array([[2.0, 0.7, 0.1], [0.7, 1.0, -0.3], [0.1, -0.3, 0.5]])
    result = gaussian_wasserstein_correlation(with_covariance(covariance))
    expected = 2 * np.trace(covariance) - 2 * np.trace(sqrtm(covariance * np.diag(covariance)[:, None])).real
    assert result.score == pytest.approx(expected, abs=1e-9)
    assert result.normalised == pytest.approx(expected / 3.5, abs=1e-9)


@pytest.mark.parametrize(
    ("correlation", "noise", "means", "samples"), [(0.9, 0.5, 0.83, 0.11), (0.99, 0.5, 1.96, 0.14)]
)
def test_means_against_samples_known_values(correlation: float, noise: float, means: float, samples: float) -> None:
    covariance = (1 - noise) * np.array([[1.0, correlation], [correlation, 1.0]])
    codes = with_covariance(covariance)
    result = gaussian_total_correlation(codes, np.full(codes.shape, np.sqrt(noise)))
    assert result.score == pytest.approx(means, abs=0.005)
    assert result.sampled == pytest.approx(samples, abs=0.005)
    assert result.sampled_bound == pytest.approx(np.log(2), abs=1e-9)


def test_samples_never_exceed_their_bound() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        codes = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
        result = gaussian_total_correlation(codes, np.exp(rng.normal(size=codes.shape)))
        assert result.sampled is not None
        assert result.sampled_bound is not None
        assert result.sampled <= result.sampled_bound


def test_copied_latent_is_infinite_in_the_means_only() -> None:
    codes = np.random.default_rng(2).normal(size=(100, 2))[:, [0, 1, 1]]
    result = gaussian_total_correlation(codes, np.full(codes.shape, 0.5))
    assert result.score == np.inf
    assert result.sampled is not None
    assert np.isfinite(result.sampled)


def test_constant_and_passive_latents_are_left_out() -> None:
    codes = with_covariance(np.array([[1.0, 0.8], [0.8, 1.0]]))
    wider = np.concatenate([codes, np.full((500, 1), 0.1), 0.01 * codes[:, :1]], axis=1)
    assert gaussian_total_correlation(wider, minimum_variance=1e-2).score == pytest.approx(
        -0.5 * np.log(0.36), abs=1e-9
    )
    assert gaussian_total_correlation(np.full((50, 3), 0.1)).score == 0
    assert gaussian_wasserstein_correlation(np.full((50, 3), 0.1)).normalised == 0


def test_sigma_must_fit() -> None:
    codes = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(UserError, match="must have the same shape"):
        gaussian_total_correlation(codes, np.ones((30, 3)))
    with pytest.raises(UserError, match="must be standard deviations"):
        gaussian_wasserstein_correlation(codes, np.zeros((30, 2)))
