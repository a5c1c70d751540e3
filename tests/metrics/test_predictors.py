"""DCI, SAP, explicitness, IRS, InfoMEC, downstream accuracy and the two vote scores on made-up representations."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import log_loss, mutual_info_score, roc_auc_score
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from pbt_disent import metrics
from pbt_disent.errors import UserError
from pbt_disent.metrics import MetricResult
from pbt_disent.metrics._supervised import split_train_test
from pbt_disent.metrics.dci import importance_scores
from pbt_disent.metrics.modularity_explicitness import _mean_area
from pbt_disent.metrics.vae_scores import PointsByFactor
from pbt_disent.types import FloatArray, IntArray

pytestmark = pytest.mark.slow


def perfect(points: int = 600, seed: int = 0) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    factors = rng.integers([3, 4], size=(points, 2))
    noise = 0.02 * rng.normal(size=(points, 3))
    return np.stack([factors[:, 1], np.zeros(points), factors[:, 0]], axis=1) + noise, factors


def test_importance_scores_by_hand() -> None:
    table = np.array([[0.6, 0.0], [0.4, 0.5], [0.0, 0.5]])
    per_latent = 1 - entropy(table.T + 1e-11, base=2)
    per_factor = 1 - entropy(table + 1e-11, base=3)
    result = importance_scores(table)
    assert result[0] == pytest.approx((per_latent * table.sum(axis=1)).sum() / 2)
    assert result[1] == pytest.approx(per_factor.mean())
    assert importance_scores(np.eye(3)) == pytest.approx((1, 1))
    assert importance_scores(np.ones((3, 3))) == pytest.approx((0, 0), abs=1e-9)
    assert importance_scores(np.zeros((3, 2))) == (0, 0)


def test_fast_dci_tells_perfect_from_entangled() -> None:
    codes, factors = perfect()
    result = metrics.dci(codes, factors, budget="fast")
    assert min(result.disentanglement, result.completeness, result.informativeness) > 0.95
    np.testing.assert_array_equal(result.importance.argmax(axis=0), [2, 0])
    turned = metrics.dci((codes[:, [0, 2]]) @ np.array([[1.0, 1.0], [1.0, -1.0]]), factors, budget="fast")
    assert turned.disentanglement < 0.5
    split = np.stack([factors[:, 1] // 2, factors[:, 1] % 2, factors[:, 0]], axis=1) + 0.0
    assert metrics.dci(split, factors, budget="fast").completeness < 0.8


def test_mean_area_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, chance = rng.integers(3, size=80), np.round(rng.uniform(size=(80, 3)), 1)
    expected = np.mean([roc_auc_score(labels == c, chance[:, c]) for c in range(3)])
    assert _mean_area(labels, np.arange(3), chance) == pytest.approx(expected)
    assert _mean_area(np.zeros(5, dtype=np.int64), np.arange(3), chance[:5]) == 0.5


def test_explicitness_does_not_depend_on_scale() -> None:
    codes, factors = perfect()
    result = metrics.explicitness(codes, factors)
    assert result.score > 0.9
    assert metrics.explicitness(codes * [1e-6, 5.0, 1e4] + 3, factors).score == pytest.approx(result.score, abs=1e-6)
    assert metrics.explicitness(np.random.default_rng(0).normal(size=codes.shape), factors).score < 0.6


def test_sap_by_hand() -> None:
    codes, factors = perfect()
    result = metrics.sap(codes, factors, continuous=True)
    data = split_train_test(codes, factors)
    expected = np.corrcoef(data.codes[:, 0], data.values[:, 1])[0, 1] ** 2
    assert result.predictability[0, 1] == pytest.approx(expected)
    assert result.score > 0.9
    dead = codes * [1, 0, 1] + 0.1
    assert metrics.sap(dead, factors, continuous=True).predictability[1].max() == 0
    classifier = LinearSVC(C=0.01, class_weight="balanced", random_state=0).fit(data.codes[:, 2:], data.classes[:, 0])
    accuracy = classifier.score(data.test_codes[:, 2:], data.test_classes[:, 0])
    assert metrics.sap(codes, factors).predictability[2, 0] == pytest.approx(accuracy)


def test_irs_by_hand() -> None:
    factors = np.stack(np.meshgrid(np.arange(4), np.arange(5)), axis=-1).reshape(-1, 2)
    codes = np.stack([factors[:, 0], np.full(20, 0.1), factors[:, 1]], axis=1) * 1.0
    result = metrics.irs(codes, factors)
    np.testing.assert_allclose(result.per_latent, [1, 0, 1], atol=1e-12)
    np.testing.assert_array_equal(result.factor_of_latent, [0, 0, 1])
    assert result.score == pytest.approx(1)
    assert metrics.irs(np.full((20, 2), 0.1), factors).score == 0
    mixed = metrics.irs((codes[:, 0] + codes[:, 2])[:, None], factors, quantile=1.0)
    # With factor 0 fixed the sum moves by 2 around its mean, with factor 1 by 1.5, at most by 3.5 in all.
    np.testing.assert_allclose(mixed.robustness, [[1 - 2 / 3.5, 1 - 1.5 / 3.5]])


def test_infomec_of_perfect_merged_and_dead() -> None:
    codes, factors = perfect()
    result = metrics.infomec(codes, factors, estimator="equal_width")
    np.testing.assert_array_equal(result.active, [True, False, True])
    assert min(result.infom, result.infoc) > 0.95
    merged = np.stack([4.0 * factors[:, 0] + factors[:, 1], 4.0 * factors[:, 0] + factors[:, 1]], axis=1)
    both = metrics.infomec(merged, factors, estimator="equal_width")
    assert both.infom < 0.1
    assert both.infoc == pytest.approx(0, abs=1e-9)
    dead = metrics.infomec(np.full_like(codes, 0.1), factors)
    assert (dead.infom, dead.infoc) == (0, 0)
    assert dead.infoe == pytest.approx(0, abs=1e-6)
    one_hot = np.concatenate([np.eye(3)[factors[:, 0]], np.eye(4)[factors[:, 1]]], axis=1)
    assert metrics.infomec(one_hot, factors, estimator="equal_width").infoe > 0.95


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_infomec_equals_its_definition_step_by_step() -> None:
    codes, factors = perfect(300)
    codes[:, 0] += 0.8 * factors[:, 0]
    codes += 0.3 * np.random.default_rng(1).normal(size=codes.shape)
    result = metrics.infomec(codes, factors)
    scaled = StandardScaler().fit_transform(codes)
    shares, explained = np.empty((2, 3)), []
    for k in range(2):
        labels = factors[:, k]
        for j in range(3):
            information = mutual_info_classif(scaled[:, [j]], labels, n_neighbors=10, random_state=0)
            shares[k, j] = information[0] / mutual_info_score(labels, labels)
        losses = []
        for inputs in (np.zeros_like(scaled), scaled):
            model = LogisticRegression(C=np.inf, class_weight="balanced").fit(inputs, labels)
            losses.append(log_loss(labels, model.predict_proba(inputs)))
        explained.append((losses[0] - losses[1]) / losses[0])
    np.testing.assert_allclose(result.normalised_information, shares.T, atol=0.01)
    assert result.active.all()
    assert result.infom == pytest.approx(2 * np.mean(shares.max(axis=0) / shares.sum(axis=0)) - 1, abs=0.01)
    assert result.infoc == pytest.approx(1.5 * np.mean(shares.max(axis=1) / shares.sum(axis=1)) - 0.5, abs=0.01)
    assert result.infoe == pytest.approx(np.mean(explained), abs=1e-5)


def test_downstream_accuracy_equals_its_definition() -> None:
    codes, factors = perfect(500)
    codes += 0.5 * np.random.default_rng(2).normal(size=codes.shape)
    train, test = slice(0, 300), slice(300, 500)
    result = metrics.downstream(codes[train], factors[train], codes[test], factors[test], sizes=(100, 300))
    trees = metrics.downstream(codes[train], factors[train], codes[test], factors[test], classifier="boosted")
    for k in range(2):
        for row, size in enumerate((100, 300)):
            x, y = codes[:size], factors[:size, k]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                model = LogisticRegressionCV(Cs=10, cv=KFold(n_splits=5)).fit(x, y)
            assert result.accuracy[row, k] == np.mean(model.predict(codes[test]) == factors[test, k])
        exact = GradientBoostingClassifier(random_state=0).fit(codes[:100], factors[:100, k])
        assert trees.sizes == (10, 100)
        assert trees.accuracy[1, k] == exact.score(codes[test], factors[test, k])


def test_downstream_grows_with_the_sample() -> None:
    codes, factors = perfect(2000)
    codes = codes + 0.2 * np.random.default_rng(3).normal(size=codes.shape)
    for classifier in ("logistic", "boosted"):
        result = metrics.downstream(codes, factors, classifier=classifier, sizes=(10, 200, 1000, 5000), budget="fast")
        assert result.sizes == (10, 200, 1000)
        assert result.score == pytest.approx(result.accuracy[-1].mean())
        assert result.accuracy[0].mean() < result.score
        assert result.efficiency[-1] == 1
    published = metrics.downstream(codes, factors, sizes=(3, 100))
    assert published.accuracy.shape == (2, 2)
    with pytest.raises(UserError, match="must fit"):
        metrics.downstream(codes, factors, sizes=(5000,))


def test_unseen_classes_of_the_test_half_do_not_break_anything() -> None:
    codes, factors = perfect()
    test = factors.copy()
    test[:30, 0] = 7
    for function in (metrics.dci, metrics.explicitness, metrics.downstream, metrics.sap):
        assert np.isfinite(function(codes, factors, codes, test, budget="fast").score)


def test_partners_share_the_value_and_reach_every_point() -> None:
    _, factors = perfect(200)
    rng = np.random.default_rng(0)
    rows, fixed = rng.integers(200, size=(50, 1)), rng.integers(2, size=50)
    drawn = PointsByFactor(factors).draw_sharing(rows, fixed, 400, rng)
    for v in range(50):
        same = np.flatnonzero(factors[:, fixed[v]] == factors[rows[v, 0], fixed[v]])
        assert set(drawn[v]) <= set(same)
        assert len(set(drawn[v])) > 0.9 * len(same)


def test_factor_vae_equals_a_loop_over_votes() -> None:
    codes, factors = perfect()
    result = metrics.factor_vae(codes, factors, num_train=300, num_eval=300)
    assert result.score == 1
    np.testing.assert_array_equal(result.active, [True, False, True])
    assert result.votes.sum() == 300
    assert result.votes[1, 2] == result.votes[0, 0] == result.votes[:, 1].sum() == 0
    rng, votes = np.random.default_rng(0), np.zeros((2, 2))
    mixed = codes[:, [0, 2]] @ np.array([[1.0, 0.4], [0.0, 1.0]])
    for _ in range(2000):
        k = rng.integers(2)
        group = np.flatnonzero(factors[:, k] == factors[rng.integers(600), k])
        batch = mixed[rng.choice(group, 8)]
        votes[k, np.argmin(batch.var(axis=0, ddof=1) / mixed.var(axis=0, ddof=1))] += 1
    same = metrics.factor_vae(mixed, factors, batch=8, num_train=2000, num_eval=2000)
    np.testing.assert_allclose(same.votes / 2000, votes / 2000, atol=0.05)
    assert same.train_accuracy == pytest.approx(votes.max(axis=0).sum() / 2000, abs=0.04)


def test_vote_scores_of_dead_codes_single_factors_and_seeds() -> None:
    codes, factors = perfect()
    assert metrics.factor_vae(codes * 1e-3, factors).score == 0
    assert metrics.beta_vae(codes, factors[:, :1]).score == 1
    noise = np.random.default_rng(0).normal(size=codes.shape)
    functions: tuple[Callable[..., MetricResult], ...] = (metrics.beta_vae, metrics.factor_vae)
    for function in functions:
        few = {"num_train": 500, "num_eval": 500}
        assert function(codes, factors, **few).score > 0.95
        assert function(noise, factors, **few).score == pytest.approx(0.5, abs=0.12)
        assert function(noise, factors, seed=4, **few).score == function(noise, factors, seed=4, **few).score
