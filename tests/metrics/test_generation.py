"""Distances between sets of images against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from pbt_disent.errors import UserError
from pbt_disent.metrics import frechet_distance, reconstruction_error, sliced_wasserstein


def test_reconstruction_error_by_hand() -> None:
    images = np.zeros((2, 1, 2, 2))
    made = images.copy()
    made[1, 0, 0, 0] = 2.0
    result = reconstruction_error(images, made)
    np.testing.assert_allclose(result.per_image, [0, 1])
    assert result.score == 0.5
    with pytest.raises(UserError, match="must have the same shape"):
        reconstruction_error(images, made[:1])


def test_frechet_distance_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(400, 3))
    base = np.linalg.svd(raw - raw.mean(axis=0), full_matrices=False)[0] * np.sqrt(399)
    other = base * [1.0, 2.0, 3.0] + [1.0, 0.0, 2.0]
    assert frechet_distance(base, other).score == pytest.approx(5 + 1 + 4, abs=1e-9)
    assert frechet_distance(base, base).score == pytest.approx(0, abs=1e-9)


def test_sliced_wasserstein_of_a_shift_and_of_unequal_sizes() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(200, 2))
    shifted = sliced_wasserstein(first, first + np.array([3.0, 0.0]), directions=4000)
    assert shifted.score == pytest.approx(3 * 2 / np.pi, rel=0.03)
    assert sliced_wasserstein(first, first[::-1].copy()).score == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(rng.normal(size=(3000, 2)), rng.normal(size=(2000, 2))).score < 0.1
    with pytest.raises(UserError, match="rows of 2 and of 3 values"):
        sliced_wasserstein(first, np.ones((5, 3)))
    with pytest.raises(UserError, match="directions=0"):
        sliced_wasserstein(first, first, directions=0)
