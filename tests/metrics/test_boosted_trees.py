"""Boosted trees from histograms against scikit-learn's, and the memory of scikit-learn's."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

from pbt_disent import metrics
from pbt_disent.metrics import _boosted_trees
from pbt_disent.metrics._boosted_trees import FittedTrees, histogram_trees
from pbt_disent.types import FloatArray, IntArray

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("levels", [2, 5])
def test_first_trees_equal_scikit_learn(levels: int) -> None:
    """While residuals have one value per class, cutting at class boundaries finds the best splits exactly."""
    rng = np.random.default_rng(levels)
    labels = rng.integers(levels, size=2000) * 3
    noise = rng.normal(size=(2000, 2))
    codes = np.stack([labels + 2.0 * noise[:, 0], (labels % 2 + noise[:, 1]).round(1), np.full(2000, 0.1)], axis=1)
    test = codes[:100] + 0.1
    result = histogram_trees(codes, labels, test, rounds=1)
    exact = GradientBoostingClassifier(n_estimators=1, random_state=0).fit(codes, labels)
    np.testing.assert_allclose(result.importance, exact.feature_importances_, atol=1e-5)
    np.testing.assert_array_equal(result.train_predictions, exact.predict(codes))
    np.testing.assert_array_equal(result.test_predictions, exact.predict(test))


@pytest.mark.parametrize("noise", [0.4, 3.0])
def test_all_trees_agree_with_scikit_learn(noise: float) -> None:
    rng = np.random.default_rng(7)
    factors = rng.integers([2, 6], size=(600, 2))
    codes = np.concatenate([factors @ rng.normal(size=(2, 2)), factors], axis=1) + noise * rng.normal(size=(600, 4))
    train, test = slice(0, 400), slice(400, 600)
    for labels in factors.T:
        result = histogram_trees(codes[train], labels[train], codes[test])
        exact = GradientBoostingClassifier(random_state=0).fit(codes[train], labels[train])
        np.testing.assert_allclose(result.importance, exact.feature_importances_, atol=0.02)
        accuracy = np.mean(result.test_predictions == labels[test])
        assert accuracy == pytest.approx(exact.score(codes[test], labels[test]), abs=0.04)


def test_trees_of_constant_codes_and_of_one_class() -> None:
    labels = np.arange(60) % 3
    dead = histogram_trees(np.full((60, 2), 0.1), labels, np.full((5, 2), 0.1))
    assert not dead.importance.any()
    assert set(dead.test_predictions) <= {0, 1, 2}
    constant = histogram_trees(np.random.default_rng(0).normal(size=(60, 2)), np.full(60, 4), np.zeros((5, 2)))
    assert not constant.importance.any()
    np.testing.assert_array_equal(constant.test_predictions, np.full(5, 4))


def test_twin_latents_share_the_importance() -> None:
    """Which of two equal latents is split is drawn anew each time: neither is favoured by its place."""
    rng = np.random.default_rng(0)
    labels = rng.integers(6, size=400)
    column = labels + 0.3 * rng.normal(size=400)
    result = histogram_trees(np.stack([column, column], axis=1), labels, np.zeros((1, 2)))
    np.testing.assert_allclose(result.importance, 0.5, atol=0.1)


def test_dci_and_downstream_accuracy_share_their_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same points, labels and seed are fitted once; anything else is fitted again."""
    fits: list[int] = []

    def counting(codes: FloatArray, labels: IntArray, test_codes: FloatArray, seed: int) -> FittedTrees:
        fits.append(len(codes))
        return fit(codes, labels, test_codes, seed)

    fit = _boosted_trees.exact_trees
    monkeypatch.setattr(_boosted_trees, "exact_trees", counting)
    monkeypatch.setattr(_boosted_trees, "_CACHE", OrderedDict())
    rng = np.random.default_rng(11)
    codes, factors = rng.normal(size=(160, 3)), rng.integers(2, size=(160, 2))
    half = codes[:100], factors[:100], codes[100:], factors[100:]
    scored = metrics.dci(*half)
    assert fits == [100, 100]
    read = metrics.downstream(*half, classifier="boosted", sizes=(100,))
    assert fits == [100, 100]
    assert read.score == scored.informativeness
    metrics.dci(*half, seed=1)
    metrics.dci(codes[:99], factors[:99], *half[2:])
    assert fits == [100] * 4 + [99] * 2
    monkeypatch.setattr(_boosted_trees, "REMEMBERED_FITS", 1)
    metrics.dci(*half, seed=2)
    assert len(_boosted_trees._CACHE) == 1
