"""Error bars of a score: how far it would move with other points, or with other models.

Over points: half-samples drawn without replacement. The spread of a statistic over halves of n points is, to first
order, its standard error at n, since 1 / (n / 2) - 1 / n = 1 / n; and no point occurs twice, which would deceive
nearest neighbours and trees that are tested on what they have seen. Plug-in estimates are biased more on a half than
on the whole, so that the quantiles are taken around the mean of the resamples and laid around the score itself; where
there are too few resamples for quantiles, Student's t and their standard deviation are used.

Over models: ten or more are drawn with replacement, where copies of one model are never compared with each other. Fewer
can be drawn in so few ways that quantiles contain the truth in half of all cases (three models) or five of six (five).
There every model is left out once (the jackknife; Tukey 1958), with Student's t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from pbt_disent.errors import UserError
from pbt_disent.metrics.udr import UDR
from pbt_disent.metrics.udr_options import CoverageUDR, MatchedUDR
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Interval", "interval_ends", "interval_over_models", "interval_over_points", "interval_over_replicas"]

LEVEL = 0.95
FEW = 50
FEW_MODELS = 10


@dataclass(frozen=True)
class Interval:
    """An interval around a score.

    Args:
        low: lower end.
        high: upper end.
        level: intended coverage.
        resamples: how many resamples could be scored, or models left out.
        over: ``points`` or ``models``.
    """

    low: float
    high: float
    level: float
    resamples: int
    over: str


def interval_ends(interval: Interval | None) -> list[float] | None:
    """Return the two ends of an interval as a list, ready for JSON, or None where there is no interval."""
    return None if interval is None else [interval.low, interval.high]


def interval_over_points(
    score: float,
    statistic: Callable[[Sequence[IntArray], int], float],
    sizes: Sequence[int],
    *,
    most: Sequence[int] = (),
    bounds: tuple[float, float] = (-np.inf, np.inf),
    resamples: int = 100,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval | None:
    """Return the interval of a score over points, None if most half-samples are too small to be scored.

    Args:
        score: the score on all points.
        statistic: scores a half-sample, given the chosen row numbers of every set (one array per entry of `sizes`)
            and a seed for its own draws.
        sizes: number of points in every set (training half, test half).
        most: largest number of points per set from which halves are taken, for costly statistics; the spread is
            scaled to the full number. The first set decides the scale.
        bounds: of the score; the interval is cut off there.
        resamples: number of half-samples.
        level: coverage.
        seed: of the draws.

    Raises:
        UserError: fewer than two resamples, or a level outside (0, 1).
    """
    _check(resamples, level)
    halves = [min(size, limit) // 2 for size, limit in zip_longest(sizes, most[: len(sizes)], fillvalue=max(sizes))]
    scale = float(np.sqrt(halves[0] / (sizes[0] - halves[0])))
    values = []
    for number in range(resamples):
        rng = Streams(seed).generator("intervals", number)
        rows = [np.sort(rng.permutation(size)[:half]) for size, half in zip(sizes, halves, strict=True)]
        try:
            values.append(statistic(rows, int(rng.integers(2**31))))
        except UserError:
            continue
    finite = np.array(values)[np.isfinite(values)]
    if len(finite) < max(2, resamples // 2) or not np.isfinite(score):
        return None
    return _around(score, scale * (finite - finite.mean()), bounds, level, "points")


def interval_over_models(
    ranking: UDR | CoverageUDR | MatchedUDR, *, resamples: int = 1000, level: float = LEVEL, seed: int = 0
) -> Interval | None:
    """Return the interval of a ranking's mean score over the models, None if there are fewer than three.

    Raises:
        UserError: fewer than two resamples, or a level outside (0, 1).
    """
    _check(resamples, level)
    models = len(ranking.model_scores)
    if models < 3:
        return None
    if models < FEW_MODELS:
        every = np.arange(models)
        without = [_agreement(ranking.pairwise, every[every != one]) for one in every]
        return _leaving_out(ranking.score, np.array([without]), ranking.bounds, level)
    rng = Streams(seed).generator("intervals", "models")
    values = []
    for _ in range(resamples):
        drawn = rng.integers(models, size=models)
        if len(np.unique(drawn)) > 1:
            values.append(_agreement(ranking.pairwise, drawn))
    spread = np.array(values)
    return _around(ranking.score, spread - spread.mean(), ranking.bounds, level, "models")


def interval_over_replicas(
    scores: Sequence[float],
    *,
    compared: bool,
    alike: Sequence[Sequence[float]] = (),
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = LEVEL,
) -> Interval | None:
    """Return the interval of a mean over models, from the models' scores alone.

    Where models are compared with each other, each pair score counts for both of its models, so that the scores vary
    together; the mean without a model then follows from its score up to the difference between mean and median, which
    is none for three models.

    Args:
        scores: one per model.
        compared: whether a score says how a model agrees with the others, or is its own.
        alike: the same of others whose models are taken to spread as much; the variance is the mean of all.
        bounds: of a score.
        level: coverage.

    Returns:
        None with fewer than two models, or three where they are compared.

    Raises:
        UserError: a level outside (0, 1).
    """
    _check(2, level)
    taken = 2 if compared else 1
    if len(scores) <= taken:
        return None
    every = [np.array(one, dtype=np.float64) for one in (scores, *alike) if len(one) == len(scores)]
    without = [(each.sum() - taken * each) / (len(each) - taken) for each in every]
    return _leaving_out(float(every[0].mean()), np.array(without), bounds, level)


def _agreement(pairwise: FloatArray, models: IntArray) -> float:
    return float(np.mean([np.median(pairwise[models[models != one], one]) for one in models]))


def _leaving_out(score: float, without: FloatArray, bounds: tuple[float, float], level: float) -> Interval:
    """Return the interval by the scores without each model in turn, (G, M) of G groups that spread alike."""
    from scipy.stats import t as student

    groups, count = without.shape
    error = float(np.sqrt((count - 1) * without.var(axis=1).mean()))
    reach = float(student.ppf((1.0 + level) / 2.0, groups * (count - 1))) * error
    low, high = np.clip([score - reach, score + reach], *bounds)
    return Interval(low=float(low), high=float(high), level=level, resamples=without.size, over="models")


def _around(score: float, spread: FloatArray, bounds: tuple[float, float], level: float, over: str) -> Interval:
    if len(spread) < FEW:
        from scipy.stats import t as student

        high = float(student.ppf((1.0 + level) / 2.0, len(spread) - 1) * spread.std(ddof=1))
        low = -high
    else:
        low, high = np.quantile(spread, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(
        low=float(np.clip(score + low, *bounds)),
        high=float(np.clip(score + high, *bounds)),
        level=level,
        resamples=len(spread),
        over=over,
    )


def _check(resamples: int, level: float) -> None:
    if resamples < 2:
        raise UserError(f"resamples={resamples}", "must be at least 2", "use 100")
    if not 0.0 < level < 1.0:
        raise UserError(f"level={level}", "must be between 0 and 1", "use 0.95")
