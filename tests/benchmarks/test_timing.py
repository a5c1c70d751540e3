"""The arithmetic of ratios, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.case import (
    CASES,
    Case,
    Comparison,
    ComputedCost,
    Disagreement,
    Goal,
    Implementation,
    Measurement,
    Setup,
    Unavailable,
)
from benchmarks.results import CaseResult, ScalingCurve, merge_sessions
from benchmarks.runner import run_case
from benchmarks.timing import Spread, confidence_interval, quartiles, ratios, time_in_turns, timed


class Clock:
    """Stands still unless work moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> Callable[[], None]:
        def move() -> None:
            self.now += seconds

        return move


def quiet(text: str) -> None:
    pass


def test_a_cost_is_the_time_of_a_piece_of_the_work() -> None:
    clock = Clock()
    assert timed("a", clock.work(3.0), clock=clock).costs() == [3.0]
    assert timed("a", clock.work(3.0), number=5, items=2, clock=clock).costs() == [1.5]
    assert clock.now == 118.0


def test_implementations_take_turns_backwards_in_every_second_round() -> None:
    order: list[str] = []

    def recording(name: str) -> Implementation:
        return Implementation(name, lambda: [float(len(order.append(name) or order))])  # type: ignore[func-returns-value]

    rounds = time_in_turns([recording("ours"), recording("baseline")], 3, quiet)
    assert order == ["ours", "baseline", "baseline", "ours", "ours", "baseline"]
    assert rounds == [[[1.0], [4.0], [5.0]], [[2.0], [3.0], [6.0]]]


def test_ratios_are_paired_by_round_and_surplus_parts_are_left_out() -> None:
    result = ratios([[8.0, 6.0, 99.0], [10.0]], [[2.0, 3.0], [2.0]])
    assert (result.low, result.median, result.high, result.samples) == (3.0, 4.0, 4.5, 3)
    assert quartiles([7.0]).low == 7.0


def test_intervals_of_sessions_hold_their_mean_in_95_of_100_draws() -> None:
    random = np.random.default_rng(0)
    draws = random.normal(3.0, 2.0, (2000, 4))
    for logarithms, samples, mean in ((False, draws, 3.0), (True, np.exp(draws), np.exp(3.0))):
        result = [confidence_interval(each.tolist(), logarithms=logarithms) for each in samples]
        assert 0.935 < np.mean([one.low <= mean <= one.high for one in result]) < 0.965
        assert all(one.low <= one.median <= one.high and one.samples == 4 for one in result)


def test_intervals_of_sessions_are_those_of_student() -> None:
    result = confidence_interval([1.0, 2.0, 6.0], logarithms=False)
    assert (result.median, result.low, result.high) == pytest.approx((2.0, 3.0 - 6.5723, 3.0 + 6.5723), abs=1e-3)
    assert confidence_interval([7.0]) == Spread(7.0, 7.0, 7.0, 1)


def run(monkeypatch: pytest.MonkeyPatch, baselines: Callable[[Clock], list[object]], **case: object) -> CaseResult:
    clock = Clock()

    def prepare(setup: Setup) -> Comparison:
        assert setup.folder.is_dir()
        return Comparison(
            timed("ours", clock.work(2.0), clock=clock),
            baselines(clock),  # type: ignore[arg-type]
            lambda: "equal",
            repeats=3,
            measurements=lambda medians: [Measurement("ours again", medians["ours"], "s", Goal(1, at_most=True))],
        )

    monkeypatch.setitem(CASES._entries, "made up", Case("x against y", prepare, **case))  # type: ignore[arg-type]
    return run_case("made up", "tiny", quiet)


def test_the_headline_is_against_the_best_baseline_that_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    case = run(
        monkeypatch,
        lambda clock: [
            Unavailable("absent", "is not installed"),
            timed("slow", clock.work(10.0), clock=clock),
            timed("fast", clock.work(5.0), clock=clock),
            ComputedCost("on paper", 1.0, "from its description"),
        ],
        goal=Goal(2),
    )
    assert [row.baseline for row in case.baselines] == ["fast", "slow", "absent", "on paper"]
    result = case.as_json()
    assert (result["ratio"], result["baseline"], result["ratio_of"]) == (2.5, "fast", "baseline / ours")
    assert (result["goal"], result["goal_is"], result["met"]) == (2, "at least 2", True)
    assert result["measurements"] == [
        {"name": "ours again", "value": 2.0, "unit": "s", "goal_is": "at most 1", "met": False}
    ]
    assert result["baselines"][2]["ratio"] is None
    assert result["baselines"][3]["ratio"]["median"] == 0.5
    assert "from its description" in result["baselines"][3]["remark"]


def test_the_headline_of_sessions_is_against_one_baseline_in_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best by the median of its cost, though another one was better in the first session."""

    def session(a: float, b: float) -> CaseResult:
        return run(
            monkeypatch,
            lambda clock: [timed("a", clock.work(a), clock=clock), timed("b", clock.work(b), clock=clock)],
        )

    first = session(5.0, 6.0)
    result = merge_sessions([first, session(20.0, 7.0)])
    assert (first.baseline, result.baseline, result.ratio_by_session) == ("a", "b", [3.0, 3.5])
    assert result.ratio is not None
    assert result.ratio.median == 3.25


def test_exponents_of_sessions_may_be_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, lambda clock: [])
    curves = [ScalingCurve("ours", [1, 2], [2.0, 2.0], Spread(each, each, each, 1), each) for each in (-0.5, 0.1)]
    (curve,) = merge_sessions([replace(result, curves=[one]) for one in curves]).curves
    assert curve.exponent.median == pytest.approx(-0.2)
    assert (curve.exponent.low, curve.exponent.high) == pytest.approx((-0.2 - 3.8119, -0.2 + 3.8119), abs=1e-3)


def test_a_goal_from_above_turns_the_ratio_round(monkeypatch: pytest.MonkeyPatch) -> None:
    case = run(monkeypatch, lambda clock: [timed("floor", clock.work(1.0), clock=clock)], goal=Goal(1.3, at_most=True))
    result = case.as_json()
    assert (result["ratio"], result["ratio_of"], result["met"]) == (2.0, "ours / baseline", False)


def test_without_a_baseline_there_is_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, lambda clock: [Unavailable("absent", "needs more memory")]).as_json()
    assert (result["ratio"], result["spread"], result["baseline"], result["met"]) == (None, None, None, None)


def test_implementations_that_disagree_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise Disagreement("scores differ by 1")

    def fail() -> None:
        raise AssertionError("timed")

    comparison = Comparison(timed("ours", fail), [timed("baseline", fail)], refuse, repeats=1)
    monkeypatch.setitem(CASES._entries, "made up", Case("x against y", lambda setup: comparison))
    with pytest.raises(Disagreement, match="differ by 1"):
        run_case("made up", "tiny", quiet)
