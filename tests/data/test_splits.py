"""The held-out part: a tenth, spread over the set, the same for every run."""

from __future__ import annotations

import numpy as np
import pytest

from pbt_disent.data.scatter import uniform
from pbt_disent.data.splits import split
from pbt_disent.errors import UserError


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


def test_scattered_numbers_are_uniform_and_independent_between_names_and_seeds() -> None:
    index = np.arange(100_000)
    drawn = [uniform(index, name, seed) for name, seed in (("a", 0), ("a", 1), ("b", 0))]
    for numbers in drawn:
        assert numbers.min() >= 0
        assert numbers.max() < 1
        counts = np.histogram(numbers, 50, (0, 1))[0]
        assert ((counts - 2000) ** 2 / 2000).sum() < 100
        assert np.corrcoef(numbers[1:], numbers[:-1])[0, 1] == pytest.approx(0, abs=0.015)
    off = np.corrcoef(drawn) - np.eye(3)
    assert np.abs(off).max() < 0.015
    np.testing.assert_array_equal(uniform(index[::-1], "a", 0)[::-1], drawn[0])
