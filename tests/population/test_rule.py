from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbt_disent.config import Hyperparameter, PopulationConfig
from pbt_disent.population.exploit.truncation import Truncation
from pbt_disent.population.explore import ExploreContext, Offspring
from pbt_disent.population.explore.perturb import Perturb
from pbt_disent.population.rule import Decision, decide, draw, draw_population, stop_reason
from pbt_disent.seeds import Streams

SPACE = {
    "lr": Hyperparameter(default=1e-3, low=1e-4, high=1e-2, log=True),
    "batch_size": Hyperparameter(default=64, low=16, high=128, integer=True),
}
FACTORS = (2.0, 1.2, 0.8, 0.5)


def rule(scores: list[float | None], cutoff: float = 0.2, generation: int = 0, seed: int = 1) -> list[Decision]:
    members = [{"lr": 1e-3 + i * 1e-5, "batch_size": 64.0, "fixed": 7.0} for i in range(len(scores))]
    return decide(
        members,
        scores,
        spaces=[SPACE] * len(members),
        exploit=Truncation(cutoff=cutoff),
        explore=Perturb(perturb_factors=FACTORS),
        streams=Streams(seed),
        round_path="0",
        generation=generation,
    )


def replaced(decisions: list[Decision]) -> list[int]:
    return [decision.member for decision in decisions if decision.operation != "continue"]


@pytest.mark.parametrize(
    ("size", "cutoff", "count"), [(56, 0.2, 12), (28, 0.2, 6), (5, 0.2, 1), (4, 0.5, 2), (3, 0.5, 1)]
)
def test_the_worst_are_replaced_by_the_best(size: int, cutoff: float, count: int) -> None:
    decisions = rule([float(i) for i in range(size)], cutoff)
    assert replaced(decisions) == list(range(count))
    for decision in decisions[:count]:
        assert decision.operation == "exploit"
        assert decision.parent is not None
        assert decision.parent >= size - count


def test_those_who_stay_are_untouched() -> None:
    for decision in rule([float(i) for i in range(10)])[2:]:
        assert (decision.operation, decision.parent) == ("continue", decision.member)
        assert decision.hyperparameters == {"lr": 1e-3 + decision.member * 1e-5, "batch_size": 64.0, "fixed": 7.0}


def test_a_child_has_its_parents_values_times_a_factor_within_bounds() -> None:
    for generation in range(50):
        for decision in rule([0.0, 1.0, 2.0, 3.0, 4.0], generation=generation):
            if decision.operation == "exploit":
                assert decision.parent == 4
                ratio = decision.hyperparameters["lr"] / (1e-3 + 4e-5)
                assert any(ratio == pytest.approx(factor) for factor in FACTORS)
                assert decision.hyperparameters["batch_size"] in {128.0, 77.0, 51.0, 32.0}
                assert decision.hyperparameters["fixed"] == 7.0


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf])
def test_a_member_without_a_finite_score_never_wins_and_is_always_replaced(bad: float | None) -> None:
    decisions = rule([bad, 0.5, bad, 0.4, bad, 0.3, bad])
    assert set(replaced(decisions)) == {0, 2, 4, 6}
    assert {decision.parent for decision in decisions if decision.operation == "exploit"} <= {1, 3}


def test_without_any_score_everyone_starts_afresh() -> None:
    decisions = rule([None, math.nan, None, None])
    assert all(decision.operation == "restart" and decision.parent is None for decision in decisions)
    assert len({decision.hyperparameters["lr"] for decision in decisions}) == 4
    assert all(decision.hyperparameters["fixed"] == 7.0 for decision in decisions)


def test_equal_scores_are_ranked_by_index() -> None:
    decisions = rule([0.0] * 5)
    assert replaced(decisions) == [4]
    assert decisions[4].parent == 0


def test_no_cutoff_is_random_search() -> None:
    assert replaced(rule([1.0, 2.0, 3.0, 4.0], cutoff=0)) == []
    assert [decision.operation for decision in rule([1.0, math.nan, 3.0], cutoff=0)] == [
        "continue",
        "restart",
        "continue",
    ]


@given(
    scores=st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), min_size=2, max_size=40),
    cutoff=st.floats(0, 0.5),
    generation=st.integers(0, 5),
)
def test_for_any_scores(scores: list[float | None], cutoff: float, generation: int) -> None:
    decisions = rule(scores, cutoff, generation)
    assert [decision.member for decision in decisions] == list(range(len(scores)))
    unusable = sum(score is None or not math.isfinite(score) for score in scores)
    count = min(math.ceil(cutoff * len(scores)), len(scores) // 2)
    assert len(replaced(decisions)) == max(count, unusable)
    parents = {decision.parent for decision in decisions if decision.operation == "exploit"}
    assert not parents & set(replaced(decisions))
    for decision in decisions:
        for name, mutable in SPACE.items():
            assert mutable.low <= decision.hyperparameters[name] <= mutable.high


def test_the_same_seed_gives_the_same_decisions_and_another_does_not() -> None:
    scores = [float(i) for i in range(20)]
    assert rule(scores) == rule(scores)
    assert rule(scores, seed=2) != rule(scores)
    assert rule(scores, generation=1) != rule(scores)


def test_whole_numbers_really_move() -> None:
    space = {"n": Hyperparameter(default=2, low=1, high=100, integer=True)}

    def perturbed(value: float, factor: float) -> float:
        child = Offspring({"n": value}, 0.0, np.random.default_rng(0))
        (values,) = Perturb(perturb_factors=(factor,)).explore([child], ExploreContext(space, 0))
        return values["n"]

    assert (perturbed(1.0, 1.2), perturbed(2.0, 0.8)) == (2.0, 1.0)
    assert perturbed(1.0, 0.5) == 1.0


def test_draws_cover_the_range_on_their_scale() -> None:
    values = [draw(SPACE, Streams(0).generator(i))["lr"] for i in range(400)]
    assert min(values) < 2e-4
    assert max(values) > 5e-3
    assert np.median(np.log10(values)) == pytest.approx(-3, abs=0.1)


def test_a_first_population_has_one_member_in_each_stratum() -> None:
    members = draw_population(SPACE, 8, Streams(3).generator("draw"))
    strata = sorted(int(8 * (np.log10(member["lr"]) + 4) / 2) for member in members)
    assert strata == list(range(8))
    assert members != draw_population(SPACE, 8, Streams(4).generator("draw"))


def test_selection_beats_random_search_at_equal_cost() -> None:
    """On a smooth score of x, the best of PBT is on average above that of random search."""

    def best(cutoff: float, seed: int) -> float:
        space = {"x": Hyperparameter(default=1, low=1e-3, high=1e3, log=True)}
        streams = Streams(seed)
        members = [draw(space, streams.generator("draw", i)) for i in range(10)]
        found = -math.inf
        for generation in range(10):
            scores: list[float | None] = [-abs(math.log(member["x"] / 50)) for member in members]
            found = max(found, *(score for score in scores if score is not None))
            decisions = decide(
                members,
                scores,
                spaces=[space] * len(members),
                exploit=Truncation(cutoff=cutoff),
                explore=Perturb(perturb_factors=FACTORS),
                streams=streams,
                round_path="0",
                generation=generation,
            )
            members = [decision.hyperparameters for decision in decisions]
        return found

    assert np.mean([best(0.2, seed) for seed in range(20)]) > np.mean([best(0.0, seed) for seed in range(20)])


@pytest.mark.parametrize(
    ("best", "reason"),
    [
        ([], None),
        ([0.5] * 6, None),
        ([0.5] * 7, "converged"),
        ([0.5, 0.51, 0.51, 0.51, 0.51, 0.51, 0.51], None),
        ([0.1, 0.5, 0.504, 0.5, 0.504, 0.5, 0.504, 0.5], "converged"),
        ([0.05] * 7, "nothing_learned"),
        ([0.5, None, 0.5, 0.5, 0.5, 0.5, 0.5], None),
        ([0.1 * i for i in range(20)], "max_generations"),
        ([None] * 20, "nothing_learned"),
        ([0.09] * 3 + [0.02] * 17, "nothing_learned"),
    ],
)
def test_a_population_stops_when_it_should(best: list[float | None], reason: str | None) -> None:
    assert stop_reason(best, PopulationConfig(max_generations=20)) == reason
