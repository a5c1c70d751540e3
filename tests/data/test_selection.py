"""Incomplete and correlated parts of a set, and the part that is held out."""

from __future__ import annotations

import numpy as np
import pytest

from pbt_disent.data import Subset, correlate, load, select, split
from pbt_disent.data.base import ImageData
from pbt_disent.errors import UserError
from pbt_disent.seeds import indexed_uniform

GRID = {"shape": 3, "scale": 3, "orientation": 1, "x": 8, "y": 8}


@pytest.fixture
def sprites() -> ImageData:
    return load("sprites", size=8, grid=GRID)


def everything(data: ImageData) -> np.ndarray:
    ids = data.factors(np.arange(len(data)))
    assert ids is not None
    return ids


def test_a_subset_is_a_view(sprites: ImageData) -> None:
    part = Subset(sprites, [9, 4, 100])
    np.testing.assert_array_equal(part.images([2, 0]), sprites.images([100, 9]))
    np.testing.assert_array_equal(part.factors([2, 0]), sprites.factors([100, 9]))
    assert part.fingerprint != Subset(sprites, [4, 9, 100]).fingerprint != sprites.fingerprint
    with pytest.raises(IndexError):
        part.images([3])


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("shape == 1", lambda f: f[:, 0] == 1),
        ("not (shape != 1)", lambda f: f[:, 0] == 1),
        ("shape in [0, 2] and x < 4", lambda f: (f[:, 0] != 1) & (f[:, 3] < 4)),
        ("shape not in (0, 2) or 2 <= y < 5", lambda f: (f[:, 0] == 1) | ((f[:, 4] >= 2) & (f[:, 4] < 5))),
        ("x > y", lambda f: f[:, 3] > f[:, 4]),
    ],
)
def test_a_rule_keeps_exactly_what_it_says(sprites: ImageData, where: str, holds: object) -> None:
    assert callable(holds)
    np.testing.assert_array_equal(select(sprites, where).indices, np.flatnonzero(holds(everything(sprites))))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("colour == 1", "is no factor"),
        ("shape ==", "is no rule"),
        ("shape", "compares nothing"),
        ("__import__('os').system('true') == 0", "not allowed"),
        ("shape.size == 576", "not allowed"),
        ("x.tofile('stolen') == 0", "not allowed"),
        ("shape + 1 == 2", "not allowed"),
        ("shape == 'heart'", "not allowed"),
        ("shape is 1", "not allowed"),
        ("x < [1, 2]", "compares in a way that is not allowed"),
        ("x in [y, 3]", "must be a list of whole numbers"),
        ("x in [[1, 2], [3]]", "must be a list of whole numbers"),
        ("x in 3", "compares in a way that is not allowed"),
        ("shape == 7", "keeps 0 of 576"),
    ],
)
def test_other_rules_are_refused(sprites: ImageData, where: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("sprites", size=8, grid=GRID, where=where)


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.9, -0.6])
def test_two_factors_are_as_correlated_as_asked(strength: float) -> None:
    data = load("sprites", size=8, grid={"x": 32, "y": 32, "shape": 3, "scale": 6, "orientation": 10})
    part = correlate(data, "x", "y", strength, seed=4)
    x, y = everything(part)[:, 3:].T
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(strength, abs=0.02)
    others = np.corrcoef(everything(part)[:, :4], rowvar=False) - np.eye(4)
    assert np.abs(others).max() < 0.03
    assert len(np.unique(part.indices)) == len(part)


def test_correlation_between_factors_of_different_sizes_and_its_seed(sprites: ImageData) -> None:
    part = load("sprites", size=8, grid={**GRID, "y": 32}, correlation=["scale", "y", 0.5])
    assert np.corrcoef(everything(part)[:, 1], everything(part)[:, 4])[0, 1] == pytest.approx(0.5, abs=0.06)
    first, same, other = (correlate(sprites, "x", "y", 0.5, seed).fingerprint for seed in (0, 0, 1))
    assert first == same != other


@pytest.mark.parametrize(
    ("correlation", "message"),
    [
        (["x", "z", 0.5], "is no factor"),
        (["x", "x", 0.5], "two factors"),
        (["x", "y", 1.0], "two factors"),
        (["x", "orientation", 0.5], "out of reach"),
        (["x", "y"], "two factors and a strength"),
        (0.5, "two factors and a strength"),
    ],
)
def test_correlations_that_cannot_be_are_refused(correlation: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("sprites", size=8, grid=GRID, correlation=correlation)


def test_a_tenth_is_held_out_and_every_image_is_on_one_side() -> None:
    training, held_out = split(50_000)
    assert len(held_out) == pytest.approx(5000, abs=250)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, held_out])), np.arange(50_000))
    assert np.histogram(held_out, 10)[0].min() > 400


def test_an_image_stays_on_its_side() -> None:
    _, few = split(1000)
    _, many = split(3000)
    np.testing.assert_array_equal(few, many[many < 1000])
    _, more = split(1000, 0.3)
    assert set(few) < set(more)


@pytest.mark.parametrize("length", [2, 3, 5])
@pytest.mark.parametrize("share", [0.01, 0.99])
def test_no_side_is_ever_empty(length: int, share: float) -> None:
    training, held_out = split(length, share)
    assert min(len(training), len(held_out)) >= 1
    assert len(training) + len(held_out) == length


@pytest.mark.parametrize(("length", "share"), [(1, 0.1), (10, 0.0), (10, 1.0)])
def test_shares_that_make_no_sense_are_refused(length: int, share: float) -> None:
    with pytest.raises(UserError, match="leaves a side empty"):
        split(length, share)


def test_indexed_numbers_are_uniform_and_independent_between_names_and_seeds() -> None:
    index = np.arange(100_000)
    drawn = [indexed_uniform(index, name, seed) for name, seed in (("a", 0), ("a", 1), ("b", 0))]
    for numbers in drawn:
        assert numbers.min() >= 0
        assert numbers.max() < 1
        counts = np.histogram(numbers, 50, (0, 1))[0]
        assert ((counts - 2000) ** 2 / 2000).sum() < 100
        assert np.corrcoef(numbers[1:], numbers[:-1])[0, 1] == pytest.approx(0, abs=0.015)
    off = np.corrcoef(drawn) - np.eye(3)
    assert np.abs(off).max() < 0.015
    np.testing.assert_array_equal(indexed_uniform(index[::-1], "a", 0)[::-1], drawn[0])
