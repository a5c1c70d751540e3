"""Any metrics on one set of codes, by name and with confidence intervals, for the command line and the reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError, nearest
from pbt_disent.metrics._arrays import as_array
from pbt_disent.metrics.base import METRICS, Metric, MetricInputs, MetricResult, check_metric_budget
from pbt_disent.metrics.intervals import Interval, interval_over_models, interval_over_points
from pbt_disent.metrics.udr import UDR, CoverageUDR, MatchedUDR
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["MAXIMUM_DECODED", "MAXIMUM_POINTS", "MetricScore", "applicable_metrics", "score"]

MAXIMUM_POINTS = {"protocol": (10_000, 5_000), "fast": (2_000, 1_000)}
"""The most training and test points of each budget."""
MAXIMUM_RANKING_POINTS = 1_000
MAXIMUM_DECODED = {"protocol": 2_000, "fast": 500}
"""The most images, or features of images, that the metrics of a decoder are measured on."""
RESAMPLES = 100
COSTLY_RESAMPLES = 10


@dataclass(frozen=True, eq=False)
class MetricScore:
    """The result of one metric with its confidence intervals.

    Args:
        name: The name of the metric in `METRICS`.
        result: The result, with all parts, direction, bounds and provenance.
        values: The numbers that are reported, by name; the headline first.
        intervals: The intervals of each number that could be measured: over points, and for rankings over models too.
    """

    name: str
    result: MetricResult
    values: dict[str, float]
    intervals: dict[str, tuple[Interval, ...]]


def applicable_metrics(inputs: MetricInputs) -> tuple[str, ...]:
    """Return the names of the metrics that can be computed from these inputs, which ``all`` stands for.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import MetricInputs, applicable_metrics
        >>> applicable_metrics(MetricInputs(np.ones((100, 3))))
        ('gaussian_total_correlation', 'gaussian_wasserstein_correlation', 'mutual_info_score')
    """
    if _is_ranking(inputs):
        return tuple(name for name in METRICS if METRICS[name].kind == "ranking" and inputs.information is not None)
    kinds = ("unlabelled",) if inputs.factors is None else ("labelled", "unlabelled")
    return tuple(name for name in METRICS if METRICS[name].kind in kinds or _has_decoded(METRICS[name], inputs))


def score(
    inputs: MetricInputs,
    metrics: Sequence[str] | str = "all",
    *,
    budget: str = "protocol",
    seed: int = 0,
    intervals: bool = True,
    on_metric: Callable[[str], None] | None = None,
) -> dict[str, MetricScore]:
    """Compute metrics of one model, or rankings of several models.

    Where there are more points than the budget allows (10,000 training and 5,000 test points, or 2,000 and 1,000 for
    ``fast``; 1,000 for rankings; 2,000 or 500 images), they are drawn once by the seed, without replacement, and all
    metrics see the same ones.

    Args:
        inputs: The codes, and whatever else there is to score.
        metrics: The name of a metric, several names, or ``all`` for those that the inputs suffice for.
        budget: The budget, ``protocol`` or ``fast``.
        seed: The seed of all draws.
        intervals: Whether to measure confidence intervals; for costly metrics with the fast budget.
        on_metric: A function that is called with the name of each metric before it is computed.

    Returns:
        The scores by the name of the metric.

    Raises:
        UserError: A metric or the budget is unknown, the inputs lack what a metric needs, or they are bad.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import MetricInputs, score
        >>> factors = np.random.default_rng(0).integers([3, 4], size=(600, 2))
        >>> codes = factors @ [[1, 1], [0, 1]]
        >>> scores = score(MetricInputs(codes, factors), ["mig", "modularity"])
        >>> {name: round(scores[name].values["score"], 2) for name in scores}
        {'mig': 0.57, 'modularity': 0.86}
        >>> interval = scores["mig"].intervals["score"][0]
        >>> interval.low < scores["mig"].values["score"] < interval.high
        True
    """
    check_metric_budget(budget)
    names = _requested_metrics(inputs, metrics)
    drawn = _draw_images(_draw_points(inputs, budget, seed), budget, seed)
    scores = {}
    for name in names:
        if on_metric is not None:
            on_metric(name)
        scores[name] = _score_metric(name, drawn, budget, seed, intervals)
    return scores


def _requested_metrics(inputs: MetricInputs, metrics: Sequence[str] | str) -> Sequence[str]:
    applicable = applicable_metrics(inputs)
    names = applicable if metrics == "all" else [metrics] if isinstance(metrics, str) else metrics
    for name in names:
        if name not in applicable:
            raise UserError(f"metric {name!r}", f"needs {_needs(METRICS[name])} here", nearest(name, applicable))
    if not names:
        raise UserError("codes (M, N, Z) without information", "cannot be ranked", "give information (M, Z) in nats")
    return names


def _needs(metric: Metric) -> str:
    if metric.row_groups:
        return " and ".join(name for group in metric.row_groups for name in group)
    needs = {"labelled": "codes (N, Z) and factors", "unlabelled": "codes (N, Z)"}
    return needs.get(metric.kind, "codes (M, N, Z) of several models and their information")


def _is_ranking(inputs: MetricInputs) -> bool:
    return as_array(inputs.codes, "codes").ndim == 3


def _has_decoded(metric: Metric, inputs: MetricInputs) -> bool:
    """Tell whether the inputs hold all that a metric of a decoder needs."""
    names = [name for group in metric.row_groups for name in group]
    return bool(names) and all(getattr(inputs, name) is not None for name in names)


def _score_metric(name: str, inputs: MetricInputs, budget: str, seed: int, with_intervals: bool) -> MetricScore:
    metric = METRICS[name]
    result = metric.run(inputs, budget, seed)
    values = {part: float(value) for part in metric.parts if (value := getattr(result, part)) is not None}
    intervals: dict[str, tuple[Interval, ...]] = {}
    if with_intervals:
        intervals = _intervals_over_points(metric, inputs, values, budget, seed)
        if isinstance(result, UDR | CoverageUDR | MatchedUDR):
            over_models = interval_over_models(result, seed=seed)
            intervals["score"] = intervals.get("score", ()) + (() if over_models is None else (over_models,))
    return MetricScore(name, result, values, intervals)


def _intervals_over_points(
    metric: Metric, inputs: MetricInputs, values: dict[str, float], budget: str, seed: int
) -> dict[str, tuple[Interval, ...]]:
    """Return an interval for every part. Each half-sample is scored once for all parts."""
    results: dict[int, MetricResult] = {}
    resample_budget = "fast" if metric.costly else budget
    intervals: dict[str, tuple[Interval, ...]] = {}
    for part, value in values.items():

        def statistic(rows: Sequence[IntArray], resample_seed: int, part: str = part) -> float:
            if resample_seed not in results:
                half = _select_images(metric, inputs, rows) if metric.row_groups else _select_points(inputs, rows)
                results[resample_seed] = metric.run(half, resample_budget, resample_seed)
            return float(getattr(results[resample_seed], part))

        interval = interval_over_points(
            value,
            statistic,
            [_num_rows(inputs, group[0]) for group in metric.row_groups] or _num_points(inputs),
            max_sizes=MAXIMUM_POINTS["fast"] if metric.costly else (),
            bounds=metric.result_type.bounds,
            resamples=COSTLY_RESAMPLES if metric.costly else RESAMPLES,
            seed=seed,
        )
        intervals[part] = () if interval is None else (interval,)
    return intervals


def _draw_points(inputs: MetricInputs, budget: str, seed: int) -> MetricInputs:
    """Return the points that the budget allows, the same ones for every metric."""
    ranking = _is_ranking(inputs)
    limits = (MAXIMUM_RANKING_POINTS,) if ranking else MAXIMUM_POINTS[budget]
    if inputs.test_codes is None and not ranking:
        limits = (sum(limits),)
    rows = []
    for number, (size, limit) in enumerate(zip(_num_points(inputs), limits, strict=False)):
        rng = Streams(seed).generator("score", "points", number)
        rows.append(_draw_rows(size, limit, rng))
    return _select_points(inputs, rows)


def _draw_images(inputs: MetricInputs, budget: str, seed: int) -> MetricInputs:
    """Return as many images and features as the budget allows. An image stays with its reconstruction."""
    drawn: dict[str, FloatArray] = {}
    for group in (("images", "reconstructions"), ("generated",), ("features",), ("generated_features",)):
        sizes = {name: _num_rows(inputs, name) for name in group if getattr(inputs, name) is not None}
        if len(set(sizes.values())) > 1:
            counts = " and ".join(f"{size} {name}" for name, size in sizes.items())
            raise UserError(counts, "must be as many", "decode the codes of the same images")
        for name, size in sizes.items():
            rng = Streams(seed).generator("score", *group)
            drawn[name] = as_array(getattr(inputs, name), name)[_draw_rows(size, MAXIMUM_DECODED[budget], rng)]
    return replace(inputs, **drawn)


def _draw_rows(size: int, limit: int, rng: np.random.Generator) -> IntArray:
    return np.arange(size) if size <= limit else np.sort(rng.choice(size, limit, replace=False))


def _select_images(metric: Metric, inputs: MetricInputs, rows: Sequence[IntArray]) -> MetricInputs:
    """Return the inputs at some rows of each of the metric's groups."""
    selected = {
        name: as_array(inputs.require(name), name)[group_rows]
        for group, group_rows in zip(metric.row_groups, rows, strict=True)
        for name in group
    }
    return replace(inputs, **selected)


def _num_rows(inputs: MetricInputs, name: str) -> int:
    array = as_array(inputs.require(name), name)
    if array.ndim < 2:
        raise UserError(f"{name} of shape {array.shape}", "must have one row per image", "give (D, ...) values")
    return len(array)


def _num_points(inputs: MetricInputs) -> list[int]:
    """Return the number of points and, where there are test codes, of test points."""
    codes = as_array(inputs.codes, "codes")
    if codes.ndim < 2:
        raise UserError(f"codes of shape {codes.shape}", "must have shape (N, Z) or (M, N, Z)", "reshape them")
    sizes = [codes.shape[-2]]
    if inputs.test_codes is not None:
        test_codes = as_array(inputs.test_codes, "test_codes")
        if test_codes.ndim != 2:
            raise UserError(f"test_codes of shape {test_codes.shape}", "must have shape (N', Z)", "reshape them")
        sizes.append(len(test_codes))
    return sizes


def _select_points(inputs: MetricInputs, rows: Sequence[IntArray]) -> MetricInputs:
    """Return the inputs at some rows of the points and, where there are any, of the test points."""
    codes = as_array(inputs.codes, "codes")
    selected = replace(
        inputs,
        codes=codes[..., rows[0], :],
        factors=_select_rows(codes, "codes", inputs.factors, "factors", rows[0]),
        sigma=_select_rows(codes, "codes", inputs.sigma, "sigma", rows[0]),
    )
    if inputs.test_codes is None or inputs.test_factors is None:
        return selected
    test_codes = as_array(inputs.test_codes, "test_codes")
    test_factors = _select_rows(test_codes, "test_codes", inputs.test_factors, "test_factors", rows[1])
    return replace(selected, test_codes=test_codes[rows[1]], test_factors=test_factors)


def _select_rows(
    codes: FloatArray, codes_name: str, values: ArrayLike | None, name: str, rows: IntArray
) -> FloatArray | None:
    """Return some rows of an array that has one row per point."""
    if values is None:
        return None
    array = as_array(values, name)
    if array.ndim == 0 or len(array) != codes.shape[-2]:
        raise UserError(
            f"{codes_name} of shape {codes.shape} and {name} of shape {array.shape}",
            "must have the same number of rows",
            f"give one row of {name} per point",
        )
    return array[rows]
