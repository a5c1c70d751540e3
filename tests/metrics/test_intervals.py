"""Error bars: their width against theory, their centre, and what cannot be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from pbt_disent.errors import UserError
from pbt_disent.metrics import interval_over_models, interval_over_points, interval_over_replicas, mig, udr
from pbt_disent.types import FloatArray, IntArray

DATA = np.random.default_rng(0).normal(size=1000)


def mean_over(data: FloatArray, rows: Sequence[IntArray], seed: int) -> float:
    return float(data[rows[0]].mean())


mean_of = partial(mean_over, DATA)


@pytest.mark.parametrize(("resamples", "max_sizes"), [(400, ()), (400, (200,)), (30, ())])
def test_width_is_the_standard_error(resamples: int, max_sizes: tuple[int, ...]) -> None:
    result = interval_over_points(float(DATA.mean()), mean_of, [1000], resamples=resamples, max_sizes=max_sizes)
    assert result is not None
    expected = 2 * 1.96 * DATA.std() / np.sqrt(1000)
    assert result.high - result.low == pytest.approx(expected, rel=0.15 if resamples > 50 else 0.4)
    assert (result.high + result.low) / 2 == pytest.approx(DATA.mean(), abs=0.2 * expected)


def test_intervals_cover() -> None:
    hits = 0
    for seed in range(100):
        data = np.random.default_rng(seed).normal(size=100)
        result = interval_over_points(float(data.mean()), partial(mean_over, data), [100], resamples=60)
        assert result is not None
        hits += result.low <= 0 <= result.high
    assert 88 <= hits <= 100


def test_bias_of_half_samples_does_not_move_the_interval() -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(10, size=(300, 1))
    codes = factors + rng.normal(size=(300, 1))
    score = mig(codes, factors).score
    result = interval_over_points(score, lambda rows, _: mig(codes[rows[0]], factors[rows[0]]).score, [300])
    assert result is not None
    assert result.low < score < result.high


def test_too_small_halves_give_no_interval() -> None:
    codes, factors = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30)[:, None] % 3
    assert interval_over_points(0.5, lambda rows, _: mig(codes[rows[0]], factors[rows[0]]).score, [30]) is None
    with pytest.raises(UserError, match="resamples=1"):
        interval_over_points(0.5, mean_of, [1000], resamples=1)
    with pytest.raises(UserError, match=r"level=1\.5"):
        interval_over_points(0.5, mean_of, [1000], level=1.5)


def test_over_models_is_wide_where_models_differ() -> None:
    rng = np.random.default_rng(0)
    sources = rng.normal(size=(200, 4))
    alike = np.stack([sources + 0.05 * rng.normal(size=(200, 4)) for _ in range(5)])
    mixed = alike.copy()
    mixed[3:] = np.stack([sources @ np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2)])
    narrow, wide = (interval_over_models(udr(codes, np.ones((5, 4)))) for codes in (alike, mixed))
    assert narrow is not None
    assert wide is not None
    assert narrow.high - narrow.low < 0.02 < 0.2 < wide.high - wide.low
    assert interval_over_models(udr(alike[:2], np.ones((2, 4)))) is None


@pytest.mark.parametrize(("models", "populations", "least"), [(3, 100, 0.9), (5, 100, 0.88), (12, 25, 0.8)])
def test_over_models_covers_what_other_models_would_score(models: int, populations: int, least: float) -> None:
    """Models of differing quality, of which a pair agrees as well as the product says: the mean over all such pairs."""
    rng = np.random.default_rng(0)
    ranking = udr(rng.normal(size=(models, 30, 2)), np.ones((models, 2)))
    quality = rng.beta(8, 2, size=(populations, models))
    tables = quality[:, :, None] * quality[:, None, :]
    scores = np.array([[np.median(np.delete(t[:, i], i)) for i in range(models)] for t in tables])
    truth = scores.mean()
    hits = []
    for table, own in zip(tables, scores, strict=True):
        drawn = replace(ranking, score=float(own.mean()), pairwise=table, model_scores=own)
        result = interval_over_models(drawn, resamples=100)
        assert result is not None
        hits.append(result.low <= truth <= result.high)
    assert np.mean(hits) >= least


def test_over_replicas_from_scores_alone() -> None:
    rng = np.random.default_rng(1)
    ranking = udr(rng.normal(size=(3, 60, 4)), np.ones((3, 4)))
    table = (ranking.pairwise + ranking.pairwise.T) / 2
    scores = np.array([np.median(np.delete(table[:, i], i)) for i in range(3)])
    whole = interval_over_models(replace(ranking, score=float(scores.mean()), pairwise=table, model_scores=scores))
    alone = interval_over_replicas(scores.tolist(), compared=True)
    assert whole is not None
    assert alone is not None
    assert (alone.low, alone.high) == pytest.approx((whole.low, whole.high), abs=1e-12)
    own = [0.2, 0.5, 0.4, 0.6]
    apart = interval_over_replicas(own, compared=False)
    assert apart is not None
    expected = stats.t.interval(0.95, 3, loc=np.mean(own), scale=stats.sem(own))
    assert (apart.low, apart.high) == pytest.approx(expected, abs=1e-12)
    assert (apart.over, apart.resamples) == ("models", 4)
    similar = [[0.1, 0.3, 0.2, 0.2], [0.9, 0.5, 0.7, 0.8], [0.4]]
    pooled = interval_over_replicas(own, compared=False, pooled_groups=similar)
    assert pooled is not None
    error = np.sqrt(np.mean([np.var(group, ddof=1) for group in (own, *similar[:2])]) / 4)
    assert (pooled.low, pooled.high) == pytest.approx(stats.t.interval(0.95, 9, loc=np.mean(own), scale=error))


@pytest.mark.parametrize(("scores", "compared"), [([], False), ([0.5], False), ([0.5, 0.5], True)])
def test_too_few_replicas_have_no_interval(scores: list[float], compared: bool) -> None:
    assert interval_over_replicas(scores, compared=compared) is None
