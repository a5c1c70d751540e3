"""Any set of metrics on one set of codes, by name, with error bars: what the command line and the reports call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError, nearest
from pbt_disent.metrics._arrays import as_array
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Result, check_budget
from pbt_disent.metrics.intervals import Interval, interval_over_models, interval_over_points
from pbt_disent.metrics.udr import UDR
from pbt_disent.metrics.udr_options import CoverageUDR, MatchedUDR
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["POINTS", "Scored", "applicable", "score"]

POINTS = {"protocol": (10_000, 5_000), "fast": (2_000, 1_000)}
RANKING_POINTS = 1_000
DECODED = {"protocol": 2_000, "fast": 500}
"""Images, or features of images, that the metrics of a decoder are measured on."""
RESAMPLES = 100
COSTLY_RESAMPLES = 10


@dataclass(frozen=True, eq=False)
class Scored:
    """One metric's result with its error bars.

    Args:
        name: of the metric in the registry.
        result: with all parts, direction, bounds and record.
        values: the numbers reported, by name; the headline first.
        intervals: per number the intervals that could be measured (over points; for rankings over models too).
    """

    name: str
    result: Result
    values: dict[str, float]
    intervals: dict[str, tuple[Interval, ...]]


def applicable(inputs: Inputs) -> tuple[str, ...]:
    """Return the names of the metrics that these inputs can be scored by: ``all`` stands for them."""
    if as_array(inputs.codes, "codes").ndim == 3:
        return tuple(name for name in METRICS if METRICS[name].kind == "ranking" and inputs.information is not None)
    kinds = ("unlabelled",) if inputs.factors is None else ("labelled", "unlabelled")
    return tuple(name for name in METRICS if METRICS[name].kind in kinds or _is_decoded(METRICS[name], inputs))


def _is_decoded(metric: Metric, inputs: Inputs) -> bool:
    """Tell whether there is all that a metric of a decoder needs."""
    needed = [name for names in metric.sets for name in names]
    return bool(needed) and all(getattr(inputs, name) is not None for name in needed)


def score(
    codes: ArrayLike,
    factors: ArrayLike | None = None,
    *,
    information: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
    test_codes: ArrayLike | None = None,
    test_factors: ArrayLike | None = None,
    images: ArrayLike | None = None,
    reconstructions: ArrayLike | None = None,
    generated: ArrayLike | None = None,
    features: ArrayLike | None = None,
    generated_features: ArrayLike | None = None,
    metrics: Sequence[str] | str = "all",
    budget: str = "protocol",
    seed: int = 0,
    intervals: bool = True,
    begun: Callable[[str], None] | None = None,
) -> dict[str, Scored]:
    """Return the chosen metrics of one model's codes (N, Z), or rankings of several models' codes (M, N, Z).

    Where there are more points than the budget uses (10,000 and 5,000, or 2,000 and 1,000 for ``fast``; 1,000 for
    rankings, 2,000 or 500 of what is decoded), they are drawn once by `seed`, without replacement, and all metrics see
    the same ones.

    Args:
        codes: (N, Z), or (M, N, Z) for rankings.
        factors: (N, K) class labels, or None: then only metrics that need no labels apply.
        information: (M, Z) nats per latent, for rankings.
        sigma: (N, Z) posterior standard deviations: the Gaussian terms are then measured of samples too.
        test_codes: (N', Z); without a test half a third of the points is held out where a metric needs one.
        test_factors: (N', K).
        images: (D, ...) images, of any number.
        reconstructions: (D, ...) of these images, on the same scale.
        generated: (D', ...) images that the decoder has made of other codes, on the same scale.
        features: (F, ...) features of images, of your choice, for the Fréchet distance.
        generated_features: (F', ...) the same of generated images.
        metrics: names, or ``all`` that apply.
        budget: ``protocol`` or ``fast``.
        seed: of all draws.
        intervals: whether to measure error bars; for metrics that take long, on the fast variant.
        begun: called with the name of each metric before it is measured.

    Raises:
        UserError: an unknown metric or budget, a metric that these inputs lack something for, or bad input.
    """
    check_budget(budget)
    inputs = Inputs(
        codes,
        factors,
        test_codes,
        test_factors,
        information,
        sigma,
        images,
        reconstructions,
        generated,
        features,
        generated_features,
    )
    known = applicable(inputs)
    names = known if metrics == "all" else tuple([metrics] if isinstance(metrics, str) else metrics)
    for name in names:
        if name not in known:
            METRICS[name]
            raise UserError(f"metric {name!r}", f"needs {_needs(METRICS[name])} here", nearest(name, known))
    if not names:
        raise UserError("codes (M, N, Z) without information", "cannot be ranked", "give information (M, Z) in nats")
    drawn = _draw(inputs, budget, seed)
    scored = {}
    for name in names:
        if begun is not None:
            begun(name)
        scored[name] = _score_one(name, drawn, budget, seed, intervals)
    return scored


def _needs(metric: Metric) -> str:
    if metric.sets:
        return " and ".join(name for names in metric.sets for name in names)
    of = {"labelled": "codes (N, Z) and factors", "unlabelled": "codes (N, Z)"}
    return of.get(metric.kind, "codes (M, N, Z) of several models and their information")


def _score_one(name: str, inputs: Inputs, budget: str, seed: int, intervals: bool) -> Scored:
    metric = METRICS[name]
    result = metric.run(inputs, budget, seed)
    values = {part: float(value) for part in metric.parts if (value := getattr(result, part)) is not None}
    found: dict[str, tuple[Interval, ...]] = {}
    if intervals:
        found = _over_points(metric, inputs, values, budget, seed)
        if isinstance(result, UDR | CoverageUDR | MatchedUDR):
            over_models = interval_over_models(result, seed=seed)
            found["score"] = found.get("score", ()) + (() if over_models is None else (over_models,))
    return Scored(name, result, values, found)


def _over_points(
    metric: Metric, inputs: Inputs, values: dict[str, float], budget: str, seed: int
) -> dict[str, tuple[Interval, ...]]:
    """Return an interval for every part, scoring every half-sample once for all of them."""
    cache: dict[int, Result] = {}
    most = POINTS["fast"] if metric.costly else ()
    used = "fast" if metric.costly else budget
    intervals: dict[str, tuple[Interval, ...]] = {}
    for part, value in values.items():

        def statistic(rows: Sequence[IntArray], own_seed: int, part: str = part) -> float:
            if own_seed not in cache:
                taken = _take_decoded(metric, inputs, rows) if metric.sets else _take(inputs, rows)
                cache[own_seed] = metric.run(taken, used, own_seed)
            return float(getattr(cache[own_seed], part))

        interval = interval_over_points(
            value,
            statistic,
            [_length(inputs, names[0]) for names in metric.sets] or _sizes(inputs),
            most=most,
            bounds=metric.result.bounds,
            resamples=COSTLY_RESAMPLES if metric.costly else RESAMPLES,
            seed=seed,
        )
        intervals[part] = () if interval is None else (interval,)
    return intervals


def _draw(inputs: Inputs, budget: str, seed: int) -> Inputs:
    """Return the points that the budget allows, the same ones for every metric."""
    ranking = as_array(inputs.codes, "codes").ndim == 3
    limits = (RANKING_POINTS,) if ranking else POINTS[budget]
    if inputs.test_codes is None and not ranking:
        limits = (sum(limits),)
    sizes = _sizes(inputs)
    rows = []
    for number, (size, limit) in enumerate(zip(sizes, limits, strict=False)):
        rng = Streams(seed).generator("score", "points", number)
        rows.append(np.arange(size) if size <= limit else np.sort(rng.choice(size, limit, replace=False)))
    return _draw_decoded(_take(inputs, rows), budget, seed)


def _draw_decoded(inputs: Inputs, budget: str, seed: int) -> Inputs:
    """Return as many images and features as the budget allows; an image stays with its reconstruction."""
    drawn: dict[str, FloatArray] = {}
    for names in (("images", "reconstructions"), ("generated",), ("features",), ("generated_features",)):
        there = [name for name in names if getattr(inputs, name) is not None]
        lengths = {name: _length(inputs, name) for name in there}
        if len(set(lengths.values())) > 1:
            said = " and ".join(f"{length} {name}" for name, length in lengths.items())
            raise UserError(said, "must be as many", "decode the codes of the same images")
        for name in there:
            size, limit = lengths[name], DECODED[budget]
            rng = Streams(seed).generator("score", *names)
            rows = np.arange(size) if size <= limit else np.sort(rng.choice(size, limit, replace=False))
            drawn[name] = as_array(getattr(inputs, name), name)[rows]
    return replace(inputs, **drawn)


def _take_decoded(metric: Metric, inputs: Inputs, rows: Sequence[IntArray]) -> Inputs:
    """Return the inputs at the given rows of each of the metric's sets."""
    taken = {
        name: as_array(inputs.given(name), name)[chosen]
        for names, chosen in zip(metric.sets, rows, strict=True)
        for name in names
    }
    return replace(inputs, **taken)


def _length(inputs: Inputs, name: str) -> int:
    array = as_array(inputs.given(name), name)
    if array.ndim < 2:
        raise UserError(f"{name} of shape {array.shape}", "must have one row per image", "give (D, ...) values")
    return len(array)


def _sizes(inputs: Inputs) -> list[int]:
    codes = as_array(inputs.codes, "codes")
    if codes.ndim < 2:
        raise UserError(f"codes of shape {codes.shape}", "must have shape (N, Z) or (M, N, Z)", "reshape them")
    sizes = [codes.shape[-2]]
    if inputs.test_codes is not None:
        test = as_array(inputs.test_codes, "test_codes")
        if test.ndim != 2:
            raise UserError(f"test_codes of shape {test.shape}", "must have shape (N', Z)", "reshape them")
        sizes.append(len(test))
    return sizes


def _take(inputs: Inputs, rows: Sequence[IntArray]) -> Inputs:
    """Return the inputs at the given rows of the first and, where there is one, the test half."""
    codes = as_array(inputs.codes, "codes")
    taken = replace(
        inputs,
        codes=codes[..., rows[0], :],
        factors=_beside(codes, "codes", inputs.factors, "factors", rows[0]),
        sigma=_beside(codes, "codes", inputs.sigma, "sigma", rows[0]),
    )
    if inputs.test_codes is None or inputs.test_factors is None:
        return taken
    test = as_array(inputs.test_codes, "test_codes")
    labels = _beside(test, "test_codes", inputs.test_factors, "test_factors", rows[1])
    return replace(taken, test_codes=test[rows[1]], test_factors=labels)


def _beside(
    codes: FloatArray, name: str, values: ArrayLike | None, values_name: str, rows: IntArray
) -> FloatArray | None:
    """Return the rows of what belongs to the codes point by point."""
    if values is None:
        return None
    array = as_array(values, values_name)
    if array.ndim == 0 or len(array) != codes.shape[-2]:
        raise UserError(
            f"{name} of shape {codes.shape} and {values_name} of shape {array.shape}",
            "must have the same number of rows",
            f"give one row of {values_name} per point",
        )
    return array[rows]
