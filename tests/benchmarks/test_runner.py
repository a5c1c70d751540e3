"""Cases run, comparisons and scalings, on costs that are known; sessions in this process and in others."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.case import (
    CASES,
    Case,
    Comparison,
    ComputedCost,
    Disagreement,
    Goal,
    Measurement,
    Scaling,
    ScalingImplementation,
    Setup,
    Unavailable,
)
from benchmarks.results import CaseResult, ScalingCurve, merge_sessions
from benchmarks.runner import Session, run_case
from benchmarks.timing import Spread, timed
from pbt_disent.errors import PbtDisentError
from tests.benchmarks.test_timing import Clock, quiet


def run_comparison(
    monkeypatch: pytest.MonkeyPatch, baselines: Callable[[Clock], list[object]], **case: object
) -> CaseResult:
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
    case = run_comparison(
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
        return run_comparison(
            monkeypatch,
            lambda clock: [timed("a", clock.work(a), clock=clock), timed("b", clock.work(b), clock=clock)],
        )

    first = session(5.0, 6.0)
    result = merge_sessions([first, session(20.0, 7.0)])
    assert (first.baseline, result.baseline, result.ratio_by_session) == ("a", "b", [3.0, 3.5])
    assert result.ratio is not None
    assert result.ratio.median == 3.25


def test_exponents_of_sessions_may_be_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_comparison(monkeypatch, lambda clock: [])
    curves = [ScalingCurve("ours", [1, 2], [2.0, 2.0], Spread(each, each, each, 1), each) for each in (-0.5, 0.1)]
    (curve,) = merge_sessions([replace(result, curves=[one]) for one in curves]).curves
    assert curve.exponent.median == pytest.approx(-0.2)
    assert (curve.exponent.low, curve.exponent.high) == pytest.approx((-0.2 - 3.8119, -0.2 + 3.8119), abs=1e-3)


def test_a_goal_from_above_turns_the_ratio_round(monkeypatch: pytest.MonkeyPatch) -> None:
    case = run_comparison(
        monkeypatch, lambda clock: [timed("floor", clock.work(1.0), clock=clock)], goal=Goal(1.3, at_most=True)
    )
    result = case.as_json()
    assert (result["ratio"], result["ratio_of"], result["met"]) == (2.0, "ours / baseline", False)


def test_without_a_baseline_there_is_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_comparison(monkeypatch, lambda clock: [Unavailable("absent", "needs more memory")]).as_json()
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


def run_scaling(monkeypatch: pytest.MonkeyPatch, cost: Callable[[int], float], **more: object) -> CaseResult:
    def prepare(setup: Setup) -> Scaling:
        return Scaling("things", (10, 20, 40), 1, ScalingImplementation("ours", cost), lambda: "equal", 2, **more)  # type: ignore[arg-type]

    monkeypatch.setitem(CASES._entries, "made up", Case("x against y", prepare))
    return run_case("made up", "tiny", lambda text: None)


def test_the_ratio_is_the_growth_per_doubling_over_what_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_scaling(monkeypatch, lambda size: 3.0 * size**2).as_json()
    assert result["ratio"] == pytest.approx(2.0)
    assert result["met"] is False
    assert result["baseline"] == "things to the power 1"
    assert result["scaling"]["expected_exponent"] == 1
    (curve,) = result["scaling"]["curves"]
    assert curve["sizes"] == [10, 20, 40]
    assert curve["costs"] == [300.0, 1200.0, 4800.0]
    assert curve["exponent"]["median"] == pytest.approx(2.0)
    assert result["ours"]["median"] == 4800.0


def test_a_fixed_part_meets_the_goal_and_the_last_exponent_sees_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_scaling(monkeypatch, lambda size: 100.0 + size)
    assert result.met
    assert result.curves[0].exponent.median < result.curves[0].last_exponent < 1


def test_a_peer_is_compared_at_the_largest_size_that_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def slow(size: int) -> float:
        asked.append(size)
        return 5.0 * size

    baselines = [ScalingImplementation("slow", slow, max_size=20), Unavailable("absent", "is not installed")]
    result = run_scaling(monkeypatch, float, baselines=baselines)
    assert asked == [10, 20, 20, 10]
    assert [row.baseline for row in result.baselines] == ["slow, 20 things", "absent"]
    assert result.baselines[0].ratio is not None
    assert result.baselines[0].ratio.median == 5.0
    assert "not installed" in result.baselines[1].remark


def test_a_session_apart_finds_the_same_and_says_what_went_wrong(tmp_path: Path) -> None:
    session = Session("mig", "tiny", tmp_path / "shared", is_first=True, time_limit=60.0)
    result = session.run_in_new_process(quiet)
    assert result.agreement == session.run(quiet).agreement
    with pytest.raises(PbtDisentError, match="benchmark case 'none': is no known benchmark case"):
        replace(session, case="none").run_in_new_process(quiet)
    with pytest.raises(PbtDisentError, match=r"is not at its end after 0\.01 s"):
        replace(session, time_limit=0.01).run_in_new_process(quiet)


def test_a_session_that_dies_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PbtDisentError, match="its process ended with exit code 7"):
        Session("mig", "tiny", tmp_path / "shared", is_first=True, time_limit=60.0).run_in_new_process(die)


def die(text: str) -> None:
    os._exit(7)
