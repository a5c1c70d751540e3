"""Confidence intervals of a score: how far it would move with other points, or with other models.

Over points: half-samples are drawn without replacement. The spread of a statistic over halves of n points is, to first
order, its standard error at n, since 1 / (n / 2) - 1 / n = 1 / n. No point occurs twice, which would mislead nearest
neighbours, and trees that are tested on their training points. Plug-in estimates are biased more on a half than on the
whole, so that the quantiles are taken around the mean of the resamples and moved to the score itself. Where there are
too few resamples for quantiles, Student's t and their standard deviation are used.

Over models: ten or more are drawn with replacement, and copies of one model are never compared with each other. Fewer
can be drawn in so few ways that quantiles contain the truth in half of all cases (three models) or five of six (five).
There every model is left out once (the jackknife; Tukey 1958), with Student's t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from pbt_disent.errors import UserError
from pbt_disent.metrics.udr import UDR, CoverageUDR, MatchedUDR
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Interval", "interval_ends", "interval_over_models", "interval_over_points", "interval_over_replicas"]

LEVEL = 0.95
ENOUGH_RESAMPLES = 50
"""The fewest resamples whose quantiles are used."""
ENOUGH_MODELS = 10
"""The fewest models that are drawn with replacement."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval around a score.

    Args:
        low: The lower end.
        high: The upper end.
        level: The intended coverage.
        resamples: The number of resamples that could be scored, or of models that were left out.
        over: What was resampled, ``points`` or ``models``.
    """

    low: float
    high: float
    level: float
    resamples: int
    over: str


def interval_ends(interval: Interval | None) -> list[float] | None:
    """Return the two ends of an interval as a list, ready for JSON, or None where there is no interval.

    Example:
        >>> from pbt_disent.metrics import interval_ends, interval_over_replicas
        >>> interval_ends(interval_over_replicas([0.5], compared=False)) is None
        True
    """
    return None if interval is None else [interval.low, interval.high]


def interval_over_points(
    score: float,
    statistic: Callable[[Sequence[IntArray], int], float],
    sizes: Sequence[int],
    *,
    max_sizes: Sequence[int] = (),
    bounds: tuple[float, float] = (-np.inf, np.inf),
    resamples: int = 100,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval | None:
    """Return the interval of a score over points, or None if most half-samples are too small to be scored.

    Args:
        score: The score on all points.
        statistic: The function that scores a half-sample, given the row numbers of every set (one array per entry of
            `sizes`) and a seed for its own draws. It raises `UserError` where the sample is too small.
        sizes: The number of points in every set, such as training and test points.
        max_sizes: The largest number of points per set from which halves are taken, for costly statistics. The spread
            is scaled to the full number of the first set.
        bounds: The bounds of the score, at which the interval is cut off.
        resamples: The number of half-samples.
        level: The intended coverage.
        seed: The seed of the draws.

    Raises:
        UserError: There are fewer than two resamples, or the level is outside (0, 1).

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import interval_over_points, mig
        >>> rng = np.random.default_rng(0)
        >>> factors = rng.integers([3, 4], size=(600, 2))
        >>> codes = factors + 0.3 * rng.normal(size=(600, 2))
        >>> def statistic(rows, seed):
        ...     return mig(codes[rows[0]], factors[rows[0]]).score
        >>> interval = interval_over_points(mig(codes, factors).score, statistic, [600])
        >>> round(interval.low, 2), round(interval.high, 2)
        (0.79, 0.84)
    """
    _check(resamples, level)
    limits = zip_longest(sizes, max_sizes[: len(sizes)], fillvalue=max(sizes))
    half_sizes = [min(size, limit) // 2 for size, limit in limits]
    scale = float(np.sqrt(half_sizes[0] / (sizes[0] - half_sizes[0])))
    values = []
    for number in range(resamples):
        rng = Streams(seed).generator("intervals", number)
        rows = [np.sort(rng.permutation(size)[:half]) for size, half in zip(sizes, half_sizes, strict=True)]
        try:
            values.append(statistic(rows, int(rng.integers(2**31))))
        except UserError:
            continue
    finite = np.array(values)[np.isfinite(values)]
    if len(finite) < max(2, resamples // 2) or not np.isfinite(score):
        return None
    return _interval_around(score, scale * (finite - finite.mean()), bounds, level, "points")


def interval_over_models(
    ranking: UDR | CoverageUDR | MatchedUDR, *, resamples: int = 1000, level: float = LEVEL, seed: int = 0
) -> Interval | None:
    """Return the interval of a ranking's mean score over the models, or None if there are fewer than three.

    Args:
        ranking: The ranking of the models.
        resamples: The number of draws, where there are ten models or more.
        level: The intended coverage.
        seed: The seed of the draws.

    Raises:
        UserError: There are fewer than two resamples, or the level is outside (0, 1).

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import interval_over_models, udr
        >>> rng = np.random.default_rng(0)
        >>> codes = rng.normal(size=(500, 3)) + 0.5 * rng.normal(size=(5, 500, 3))
        >>> ranking = udr(codes, np.ones((5, 3)))
        >>> interval = interval_over_models(ranking)
        >>> interval.low < ranking.score < interval.high, interval.resamples
        (True, 5)
    """
    _check(resamples, level)
    models = len(ranking.model_scores)
    if models < 3:
        return None
    if models < ENOUGH_MODELS:
        numbers = np.arange(models)
        left_out = [_mean_agreement(ranking.pairwise, numbers[numbers != model]) for model in numbers]
        return _jackknife_interval(ranking.score, np.array([left_out]), ranking.bounds, level)
    rng = Streams(seed).generator("intervals", "models")
    values = []
    for _ in range(resamples):
        drawn = rng.integers(models, size=models)
        if len(np.unique(drawn)) > 1:
            values.append(_mean_agreement(ranking.pairwise, drawn))
    deviations = np.array(values) - np.mean(values)
    return _interval_around(ranking.score, deviations, ranking.bounds, level, "models")


def interval_over_replicas(
    scores: Sequence[float],
    *,
    compared: bool,
    pooled_groups: Sequence[Sequence[float]] = (),
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = LEVEL,
) -> Interval | None:
    """Return the interval of a mean over models, from the models' scores alone.

    Where models are compared with each other, each pair score counts for both of its models, so that the scores vary
    together. The mean without a model then follows from its score up to the difference between mean and median, which
    is 0 for three models.

    Args:
        scores: The scores of the models.
        compared: Whether a score says how a model agrees with the other models, or is the model's alone.
        pooled_groups: The scores of other groups of models that are assumed to vary as much. The variance is the mean
            over all groups of the same size.
        bounds: The bounds of a score, at which the interval is cut off.
        level: The intended coverage.

    Returns:
        The interval, or None with fewer than two models, or fewer than three where they are compared.

    Raises:
        UserError: The level is outside (0, 1).

    Example:
        >>> from pbt_disent.metrics import interval_over_replicas
        >>> interval = interval_over_replicas([0.5, 0.6, 0.55, 0.65], compared=False)
        >>> round(interval.low, 2), round(interval.high, 2)
        (0.47, 0.68)
    """
    _check(2, level)
    models_per_score = 2 if compared else 1
    if len(scores) <= models_per_score:
        return None
    groups = [np.array(group, dtype=np.float64) for group in (scores, *pooled_groups) if len(group) == len(scores)]
    left_out = [(group.sum() - models_per_score * group) / (len(group) - models_per_score) for group in groups]
    return _jackknife_interval(float(groups[0].mean()), np.array(left_out), bounds, level)


def _mean_agreement(pairwise: FloatArray, models: IntArray) -> float:
    return float(np.mean([np.median(pairwise[models[models != model], model]) for model in models]))


def _jackknife_interval(score: float, left_out: FloatArray, bounds: tuple[float, float], level: float) -> Interval:
    """Return the interval by the scores with each model left out in turn, (G, M) for G groups that vary as much."""
    from scipy.stats import t as student

    groups, models = left_out.shape
    error = float(np.sqrt((models - 1) * left_out.var(axis=1).mean()))
    margin = float(student.ppf((1.0 + level) / 2.0, groups * (models - 1))) * error
    low, high = np.clip([score - margin, score + margin], *bounds)
    return Interval(low=float(low), high=float(high), level=level, resamples=left_out.size, over="models")


def _interval_around(
    score: float, deviations: FloatArray, bounds: tuple[float, float], level: float, over: str
) -> Interval:
    if len(deviations) < ENOUGH_RESAMPLES:
        from scipy.stats import t as student

        high = float(student.ppf((1.0 + level) / 2.0, len(deviations) - 1) * deviations.std(ddof=1))
        low = -high
    else:
        low, high = np.quantile(deviations, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(
        low=float(np.clip(score + low, *bounds)),
        high=float(np.clip(score + high, *bounds)),
        level=level,
        resamples=len(deviations),
        over=over,
    )


def _check(resamples: int, level: float) -> None:
    if resamples < 2:
        raise UserError(f"resamples={resamples}", "must be at least 2", "use 100")
    if not 0.0 < level < 1.0:
        raise UserError(f"level={level}", "must be between 0 and 1", "use 0.95")
