"""Contract of every way to explore, and what sets each apart."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbt_disent.config import Hyperparameter
from pbt_disent.population.bandit import Bandit, TimeVarying
from pbt_disent.population.explore import EXPLORES, Explore, ExploreContext, Observation, Offspring
from pbt_disent.population.explore.pb2 import PB2
from pbt_disent.population.explore.perturb import Perturb
from pbt_disent.population.explore.resample import Resample
from pbt_disent.types import Hyperparameters

SPACE = {
    "lr": Hyperparameter(default=1e-3, low=1e-4, high=1e-2, log=True),
    "stages": Hyperparameter(default=2, low=1, high=6, integer=True),
    "batch_size": Hyperparameter(default=64, low=32, high=128, integer=True, choices=(32, 64, 128)),
}
STARTS = st.fixed_dictionaries(
    {
        "lr": st.floats(1e-4, 1e-2),
        "stages": st.integers(1, 6).map(float),
        "batch_size": st.sampled_from([32.0, 64.0, 128.0]),
        "fixed": st.just(7.0),
    }
)


def explore_rule(name: str, **options: Any) -> Explore:
    """Return a rule with those of some options that it has."""
    component = EXPLORES.options(name)
    known = {key: value for key, value in options.items() if key in component.model_fields}
    rule: Explore = component.model_validate(known)
    return rule


def offspring(values: list[Hyperparameters], seed: int = 0) -> list[Offspring]:
    return [Offspring(point, 0.5, np.random.default_rng([seed, index])) for index, point in enumerate(values)]


def seen(values: list[Hyperparameters]) -> list[Observation]:
    return [
        Observation(1 + index // 3, point, 0.3, 0.3 - abs(math.log(point["lr"] / 1e-3)))
        for index, point in enumerate(values)
    ]


@pytest.mark.parametrize("name", list(EXPLORES))
@given(starts=st.lists(STARTS, min_size=1, max_size=5), seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_every_value_stays_allowed_and_the_rest_as_it_was(name: str, starts: list[Hyperparameters], seed: int) -> None:
    rule = explore_rule(name, perturb_factors=(2.0, 0.5), resample_probability=0.5)
    context = ExploreContext(SPACE, 4, seen(starts * 5), starts[:1])
    moved = rule.explore(offspring(starts, seed), context)
    assert moved == rule.explore(offspring(starts, seed), context)
    assert len(moved) == len(starts)
    for point in moved:
        assert point.keys() == starts[0].keys()
        assert point["fixed"] == 7.0
        assert 1e-4 <= point["lr"] <= 1e-2
        assert point["stages"] in {1, 2, 3, 4, 5, 6}
        assert point["batch_size"] in {32, 64, 128}


@pytest.mark.parametrize("name", list(EXPLORES))
def test_whole_numbers_and_choices_reach_every_value(name: str) -> None:
    values, reached = {"lr": 1e-3, "stages": 1.0, "batch_size": 32.0}, {"stages": {1.0}, "batch_size": {32.0}}
    rule = explore_rule(name, perturb_factors=(1.2, 0.8), resample_probability=0.5)
    for step in range(150):
        (values,) = rule.explore(offspring([values], step), ExploreContext(SPACE, step))
        for key, all_of_it in reached.items():
            all_of_it.add(values[key])
    assert reached == {"stages": {1, 2, 3, 4, 5, 6}, "batch_size": {32, 64, 128}}


def test_a_perturbed_choice_always_moves() -> None:
    for start in SPACE["batch_size"].choices:
        for step in range(20):
            values = {"lr": 1e-3, "stages": 2.0, "batch_size": start}
            (moved,) = Perturb(perturb_factors=(1.2, 0.8)).explore(offspring([values], step), ExploreContext(SPACE, 0))
            assert moved["batch_size"] != start


def test_resample_draws_the_share_it_says_over_the_whole_range() -> None:
    values = {"lr": 1e-3, "stages": 2.0, "batch_size": 64.0}
    moved = Resample(resample_probability=0.25).explore(offspring([values] * 2000), ExploreContext(SPACE, 0))
    fresh = [point["lr"] for point in moved if point["lr"] != 1e-3]
    assert len(fresh) / 2000 == pytest.approx(0.25, abs=0.04)
    assert np.quantile(np.log10(fresh), [0.1, 0.5, 0.9]) == pytest.approx([-3.8, -3, -2.2], abs=0.2)


def space(**more: Any) -> dict[str, Hyperparameter]:
    return {"x": Hyperparameter(default=0.5, low=0, high=1), **more}


def test_pb2_goes_where_scores_improve_most() -> None:
    rng = np.random.default_rng(0)
    history = [
        Observation(1 + i // 8, {"x": x}, 0.2, 0.2 + math.exp(-(((x - 0.8) / 0.15) ** 2)))
        for i, x in enumerate(rng.random(48))
    ]
    moved = PB2().explore(offspring([{"x": 0.1}] * 4), ExploreContext(space(), 6, history))
    assert moved[0]["x"] == pytest.approx(0.8, abs=0.1)
    perturbed = Perturb(perturb_factors=(1.2, 0.8)).explore(
        offspring([{"x": 0.1}]), ExploreContext(space(), 6, history)
    )
    assert perturbed[0]["x"] < 0.13


def test_pb2_forgets_what_was_good_long_ago() -> None:
    rng = np.random.default_rng(1)
    history = [
        Observation(g, {"x": x}, 0.2, 0.2 + math.exp(-(((x - (0.2 if g <= 10 else 0.8)) / 0.15) ** 2)))
        for g in range(1, 21)
        for x in rng.random(6)
    ]
    (moved,) = PB2().explore(offspring([{"x": 0.5}]), ExploreContext(space(), 20, history))
    assert moved["x"] == pytest.approx(0.8, abs=0.12)


def test_pb2_does_not_choose_twice_what_was_chosen_once() -> None:
    """Where nothing is known yet, copies spread instead of all going to the one most uncertain place."""
    history = [Observation(1, {"x": x}, 0.2, 0.2) for x in (0.45, 0.5, 0.5, 0.55)]
    moved = PB2().explore(offspring([{"x": 0.5}] * 3), ExploreContext(space(), 1, history))
    positions = sorted(point["x"] for point in moved)
    assert min(b - a for a, b in itertools.pairwise(positions)) > 0.1
    (again,) = PB2().explore(offspring([{"x": 0.5}]), ExploreContext(space(), 1, history, moved))
    assert min(abs(again["x"] - place) for place in positions) > 0.05


def test_the_kernels_gradient_is_its_derivative() -> None:
    rows = np.column_stack([[1, 1, 2, 5], np.random.default_rng(0).random((4, 3))])
    kernel = TimeVarying(1.3, 0.4, 0.2)
    value, gradient = kernel(rows, eval_gradient=True)
    assert np.allclose(value, kernel(rows, rows))
    assert np.allclose(np.diag(value), kernel.diag(rows))
    for place in range(3):
        step = np.zeros(3)
        step[place] = 1e-6
        ahead, behind = (kernel.clone_with_theta(kernel.theta + sign * step)(rows) for sign in (1, -1))
        assert np.allclose((ahead - behind) / 2e-6, gradient[..., place], atol=1e-6)


def test_the_bandit_finds_the_optimum_in_fewer_evaluations_than_chance() -> None:
    def worth(x: float, y: float) -> float:
        return math.exp(-(((x - 0.7) / 0.2) ** 2) - ((y - 0.3) / 0.2) ** 2)

    both = space(y=Hyperparameter(default=0.5, low=0, high=1))
    found, chance = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        history = [Observation(1, {"x": x, "y": y}, 0, worth(x, y)) for x, y in rng.random((4, 2))]
        for step in range(1, 12):
            child = Offspring({"x": 0.5, "y": 0.5}, 0.0, rng)
            (point,) = PB2().explore([child], ExploreContext(both, step, history))
            history.append(Observation(step + 1, point, 0, worth(point["x"], point["y"])))
        found.append(max(manifest.after for manifest in history))
        chance.append(max(worth(x, y) for x, y in rng.random((15, 2))))
    assert np.mean(found) > 0.95
    assert np.mean(found) > np.mean(chance)


def test_only_the_last_observations_count() -> None:
    old = [Observation(1, {"x": 0.1}, 0.0, 9.0)] * 50
    new = [Observation(2, {"x": float(x)}, 0.0, float(x)) for x in np.random.default_rng(0).random(200)]
    child = Offspring({"x": 0.5}, 0.0, np.random.default_rng(0))
    first, second = (Bandit(space(), seen).best(3, child, []) for seen in (old + new, new))
    child = Offspring({"x": 0.5}, 0.0, np.random.default_rng(0))
    assert Bandit(space(), new).best(3, child, []) == pytest.approx(first, abs=1e-12)
    assert second is not None
