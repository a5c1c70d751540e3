"""The arithmetic of ratios, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.case import CASES, Case, Computed, Contest, Disagreement, Goal, Measure, NotRun, Setting, Side
from benchmarks.finding import Curve, Finding, merged
from benchmarks.runner import run_case
from benchmarks.timing import Spread, alternate, interval_of, ratios, spread_of, timed


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
    assert timed("a", clock.work(3.0), times=5, pieces=2, clock=clock).costs() == [1.5]
    assert clock.now == 118.0


def test_sides_take_turns_backwards_in_every_second_round() -> None:
    order: list[str] = []

    def side(name: str) -> Side:
        return Side(name, lambda: [float(len(order.append(name) or order))])  # type: ignore[func-returns-value]

    rounds = alternate([side("ours"), side("peer")], 3, quiet)
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert rounds == [[[1.0], [4.0], [5.0]], [[2.0], [3.0], [6.0]]]


def test_ratios_are_paired_by_round_and_surplus_parts_are_left_out() -> None:
    found = ratios([[8.0, 6.0, 99.0], [10.0]], [[2.0, 3.0], [2.0]])
    assert (found.low, found.median, found.high, found.samples) == (3.0, 4.0, 4.5, 3)
    assert spread_of([7.0]).low == 7.0


def test_intervals_of_sessions_hold_their_mean_in_95_of_100_draws() -> None:
    random = np.random.default_rng(0)
    draws = random.normal(3.0, 2.0, (2000, 4))
    for logarithms, samples, mean in ((False, draws, 3.0), (True, np.exp(draws), np.exp(3.0))):
        found = [interval_of(each.tolist(), logarithms=logarithms) for each in samples]
        assert 0.935 < np.mean([one.low <= mean <= one.high for one in found]) < 0.965
        assert all(one.low <= one.median <= one.high and one.samples == 4 for one in found)


def test_intervals_of_sessions_are_those_of_student() -> None:
    found = interval_of([1.0, 2.0, 6.0], logarithms=False)
    assert (found.median, found.low, found.high) == pytest.approx((2.0, 3.0 - 6.5723, 3.0 + 6.5723), abs=1e-3)
    assert interval_of([7.0]) == Spread(7.0, 7.0, 7.0, 1)


def run(monkeypatch: pytest.MonkeyPatch, peers: Callable[[Clock], list[object]], **case: object) -> Finding:
    clock = Clock()

    def prepare(setting: Setting) -> Contest:
        assert setting.folder.is_dir()
        return Contest(
            timed("ours", clock.work(2.0), clock=clock),
            peers(clock),  # type: ignore[arg-type]
            lambda: "equal",
            repeats=3,
            measures=lambda medians: [Measure("ours again", medians["ours"], "s", Goal(1, at_most=True))],
        )

    monkeypatch.setitem(CASES._entries, "made up", Case("x against y", prepare, **case))  # type: ignore[arg-type]
    return run_case("made up", "tiny", quiet)


def test_the_headline_is_against_the_best_peer_that_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(
        monkeypatch,
        lambda clock: [
            NotRun("absent", "is not installed"),
            timed("slow", clock.work(10.0), clock=clock),
            timed("fast", clock.work(5.0), clock=clock),
            Computed("on paper", 1.0, "from its description"),
        ],
        goal=Goal(2),
    )
    assert [line.peer for line in found.lines] == ["fast", "slow", "absent", "on paper"]
    result = found.as_json()
    assert (result["ratio"], result["peer"], result["ratio_of"]) == (2.5, "fast", "peer / ours")
    assert (result["goal"], result["goal_is"], result["met"]) == (2, "at least 2", True)
    assert result["measures"] == [
        {"name": "ours again", "value": 2.0, "unit": "s", "goal_is": "at most 1", "met": False}
    ]
    assert result["peers"][2]["ratio"] is None
    assert result["peers"][3]["ratio"]["median"] == 0.5
    assert "from its description" in result["peers"][3]["remark"]


def test_the_headline_of_sessions_is_against_one_peer_in_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best by the median of its cost, though another one was better in the first session."""

    def session(a: float, b: float) -> Finding:
        return run(
            monkeypatch,
            lambda clock: [timed("a", clock.work(a), clock=clock), timed("b", clock.work(b), clock=clock)],
        )

    first = session(5.0, 6.0)
    found = merged([first, session(20.0, 7.0)])
    assert (first.peer, found.peer, found.by_session) == ("a", "b", [3.0, 3.5])
    assert found.ratio is not None
    assert found.ratio.median == 3.25


def test_exponents_of_sessions_may_be_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, lambda clock: [])
    curves = [Curve("ours", [1, 2], [2.0, 2.0], Spread(each, each, each, 1), each) for each in (-0.5, 0.1)]
    (curve,) = merged([replace(found, curves=[one]) for one in curves]).curves
    assert curve.exponent.median == pytest.approx(-0.2)
    assert (curve.exponent.low, curve.exponent.high) == pytest.approx((-0.2 - 3.8119, -0.2 + 3.8119), abs=1e-3)


def test_a_goal_from_above_turns_the_ratio_round(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, lambda clock: [timed("floor", clock.work(1.0), clock=clock)], goal=Goal(1.3, at_most=True))
    result = found.as_json()
    assert (result["ratio"], result["ratio_of"], result["met"]) == (2.0, "ours / peer", False)


def test_without_a_peer_there_is_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, lambda clock: [NotRun("absent", "needs more memory")]).as_json()
    assert (result["ratio"], result["spread"], result["peer"], result["met"]) == (None, None, None, None)


def test_sides_that_disagree_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise Disagreement("scores differ by 1")

    def fail() -> None:
        raise AssertionError("timed")

    contest = Contest(timed("ours", fail), [timed("peer", fail)], refuse, repeats=1)
    monkeypatch.setitem(CASES._entries, "made up", Case("x against y", lambda setting: contest))
    with pytest.raises(Disagreement, match="differ by 1"):
        run_case("made up", "tiny", quiet)
