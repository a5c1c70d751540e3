"""The arithmetic of ratios, on a clock that the test moves."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import case, timing
from benchmarks.case import (
    Implementation,
)
from benchmarks.timing import Spread, confidence_interval, exponent, quartiles, ratios, time_in_turns, timed


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


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0, -1.0])
def test_the_exponent_of_a_power_is_found(power: float) -> None:
    assert exponent({size: 0.3 * size**power for size in (10, 20, 80)}) == pytest.approx(power)


def test_the_examples_of_the_documentation_hold() -> None:
    for module in (case, timing):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0
