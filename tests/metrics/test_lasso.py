"""Batched coordinate descent against scikit-learn's, problem by problem."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from pbt_disent.metrics._lasso import lasso_coefficients
from pbt_disent.types import FloatArray

MODELS, POINTS, LATENTS = 5, 300, 6


def entangled(seed: int) -> FloatArray:
    """Codes with strong correlations, one dead latent, one latent that repeats another."""
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(POINTS, 3))
    codes = np.stack([sources @ rng.normal(size=(3, LATENTS)) for _ in range(MODELS)])
    codes += 0.1 * rng.normal(size=codes.shape)
    codes[1, :, 2] = 0.0
    codes[2, :, 4] = codes[2, :, 0]
    centred = codes - codes.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-9))


def one_by_one(codes: FloatArray, alpha: float, tolerance: float) -> FloatArray:
    expected = np.zeros((MODELS, MODELS, LATENTS, LATENTS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for i in range(MODELS):
            for j in set(range(MODELS)) - {i}:
                model = Lasso(alpha=alpha, tol=tolerance, max_iter=1000 if tolerance > 1e-6 else 100_000)
                expected[i, j] = model.fit(codes[i], codes[j]).coef_.T
    return expected


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.6])
def test_stops_where_scikit_learn_stops(seed: int, alpha: float) -> None:
    codes = entangled(seed)
    result = lasso_coefficients(codes, alpha, 1e-4)
    np.testing.assert_allclose(result, one_by_one(codes, alpha, 1e-4), atol=1e-10)


def test_stopping_rule_matters_on_these_codes() -> None:
    codes = entangled(0)
    assert np.abs(lasso_coefficients(codes, 0.01, 1e-4) - lasso_coefficients(codes, 0.01, 1e-2)).max() > 1e-4


@pytest.mark.parametrize("alpha", [0.01, 0.1])
def test_optimum_is_scikit_learns_converged_one(alpha: float) -> None:
    codes = np.delete(entangled(1), 2, axis=0)[:, :, :5]
    result = lasso_coefficients(codes, alpha, None)
    for i in range(len(codes)):
        for j in set(range(len(codes))) - {i}:
            oracle = Lasso(alpha=alpha, tol=1e-12, max_iter=100_000).fit(codes[i], codes[j]).coef_.T
            np.testing.assert_allclose(result[i, j], oracle, atol=1e-9)


def test_optimum_with_repeated_and_dead_latents_meets_the_optimality_conditions() -> None:
    codes = entangled(2)
    weights = lasso_coefficients(codes, 0.1, None)
    for i in range(MODELS):
        for j in set(range(MODELS)) - {i}:
            pull = codes[i].T @ (codes[j] - codes[i] @ weights[i, j]) / POINTS
            assert np.abs(pull).max() <= 0.1 + 1e-7
            used = weights[i, j] != 0
            np.testing.assert_allclose(pull[used], 0.1 * np.sign(weights[i, j])[used], atol=1e-7)
    assert not weights[1, :, 2].any()
    assert not weights[:, 1, :, 2].any()


@pytest.mark.parametrize("tolerance", [1e-4, None])
def test_torch_computes_the_same(tolerance: float | None) -> None:
    codes = np.delete(entangled(3), 2, axis=0)
    np.testing.assert_allclose(
        lasso_coefficients(codes, 0.1, tolerance, device="cpu"), lasso_coefficients(codes, 0.1, tolerance), atol=1e-8
    )


@pytest.mark.gpu
def test_gpu_computes_the_same() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    codes = np.delete(entangled(3), 2, axis=0)
    np.testing.assert_allclose(
        lasso_coefficients(codes, 0.1, 1e-4, device="cuda"), lasso_coefficients(codes, 0.1, 1e-4), atol=1e-8
    )
