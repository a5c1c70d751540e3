"""The arithmetic of scaling, on costs that are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.case import CASES, Case, Scaling, ScalingImplementation, Setup, Unavailable
from benchmarks.results import CaseResult
from benchmarks.runner import run_case
from benchmarks.timing import exponent


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0, -1.0])
def test_the_exponent_of_a_power_is_found(power: float) -> None:
    assert exponent({size: 0.3 * size**power for size in (10, 20, 80)}) == pytest.approx(power)


def run(monkeypatch: pytest.MonkeyPatch, cost: Callable[[int], float], **more: object) -> CaseResult:
    def prepare(setup: Setup) -> Scaling:
        return Scaling("things", (10, 20, 40), 1, ScalingImplementation("ours", cost), lambda: "equal", 2, **more)  # type: ignore[arg-type]

    monkeypatch.setitem(CASES._entries, "made up", Case("x against y", prepare))
    return run_case("made up", "tiny", lambda text: None)


def test_the_ratio_is_the_growth_per_doubling_over_what_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, lambda size: 3.0 * size**2).as_json()
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
    result = run(monkeypatch, lambda size: 100.0 + size)
    assert result.met
    assert result.curves[0].exponent.median < result.curves[0].last_exponent < 1


def test_a_peer_is_compared_at_the_largest_size_that_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def slow(size: int) -> float:
        asked.append(size)
        return 5.0 * size

    baselines = [ScalingImplementation("slow", slow, max_size=20), Unavailable("absent", "is not installed")]
    result = run(monkeypatch, float, baselines=baselines)
    assert asked == [10, 20, 20, 10]
    assert [row.baseline for row in result.baselines] == ["slow, 20 things", "absent"]
    assert result.baselines[0].ratio is not None
    assert result.baselines[0].ratio.median == 5.0
    assert "not installed" in result.baselines[1].remark
