"""The cost of a large run, on parts that are easy to add up."""

from __future__ import annotations

import pytest

from benchmarks.scale import MeasuredParts, round_cost
from pbt_disent.rounds.budget import RoundCost

NOTHING = MeasuredParts(write=0, restore=0, score=0, driver=0, dispatch=0, track=0, checkpoint_bytes=1)


def round_of(models: int, generations: int = 3, *, rounds: int = 1, first: int = 0) -> RoundCost:
    return RoundCost("first round", rounds, models, generations, 7200, first)


@pytest.mark.parametrize(("gpus", "waves"), [(1, 10), (5, 2), (8, 2), (10, 1), (64, 1)])
def test_models_train_in_waves(gpus: int, waves: int) -> None:
    cost = round_cost(round_of(10), NOTHING, gpus, rate=2.0, replicas=5)
    assert cost.hours == pytest.approx(3 * waves)
    assert cost.busy == pytest.approx(3 * 10 / gpus)
    assert cost.busy + cost.idle == pytest.approx(cost.hours)


def test_a_larger_first_generation_and_several_rounds_count() -> None:
    assert round_cost(round_of(4, first=8), NOTHING, 4, 2.0, 1).hours == pytest.approx(4)
    assert round_cost(round_of(4, rounds=6), NOTHING, 4, 2.0, 1).hours == pytest.approx(18)


def test_what_is_not_shared_out_is_waited_for() -> None:
    parts = MeasuredParts(
        write=36.0, restore=36.0, score=360.0, driver=36.0, dispatch=3.6, track=9999.0, checkpoint_bytes=1
    )
    cost = round_cost(round_of(10, generations=1), parts, gpus=5, rate=2.0, replicas=5)
    assert cost.scoring == pytest.approx(2 * 0.1)
    assert cost.driving == pytest.approx(2 * 0.01 + 10 * 0.001)
    assert cost.storing == pytest.approx(2 * 0.02)
    assert cost.hours == pytest.approx(2 + cost.scoring + cost.driving + cost.storing)
    assert cost.limit.startswith("scoring by one worker, ")


def test_single_models_are_not_scored_by_their_agreement() -> None:
    parts = MeasuredParts(write=0, restore=0, score=360.0, driver=0, dispatch=0, track=0, checkpoint_bytes=1)
    assert round_cost(round_of(10), parts, 10, 2.0, replicas=1).scoring == 0


def test_costs_add_up() -> None:
    one = round_cost(round_of(10), NOTHING, 8, 2.0, 5)
    assert (one + one).hours == pytest.approx(2 * one.hours)
    assert (one + one).idle == pytest.approx(2 * one.idle)
    assert (one + one).gpus == 8
