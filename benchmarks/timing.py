"""Timing in turns: every side once per round, in alternating order, so that a drift of the machine meets all alike."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.case import Side

__all__ = ["Spread", "alternate", "interval_of", "ratios", "spread_of", "timed"]

Rounds = list[Sequence[float]]
"""The costs of one side, round by round."""


@dataclass(frozen=True)
class Spread:
    """Median and bounds of some samples: quartiles of rounds, or the 95 % interval of the mean of sessions."""

    median: float
    low: float
    high: float
    samples: int


def spread_of(samples: Sequence[float]) -> Spread:
    """Return the median and the quartiles of at least one sample."""
    low, median, high = (float(value) for value in np.quantile(samples, (0.25, 0.5, 0.75)))
    return Spread(median, low, high, len(samples))


def interval_of(samples: Sequence[float], *, logarithms: bool = True) -> Spread:
    """Return the median of independent samples and the 95 % interval of their mean, by Student's t.

    Args:
        samples: one or more; a single one is returned without an interval.
        logarithms: of positive samples, whose mean is then the geometric one.
    """
    from scipy.stats import t as student  # large, and what is measured in a process of its own is to go without

    median, count = statistics.median(samples), len(samples)
    if count == 1:
        return Spread(median, median, median, 1)
    values = [math.log(one) for one in samples] if logarithms else samples
    middle = statistics.fmean(values)
    reach = float(student.ppf(0.975, count - 1)) * statistics.stdev(values) / math.sqrt(count)
    low, high = middle - reach, middle + reach
    return Spread(median, math.exp(low), math.exp(high), count) if logarithms else Spread(median, low, high, count)


def timed(
    name: str,
    work: Callable[[], object],
    *,
    times: int = 1,
    pieces: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Side:
    """Return a side whose cost is the time that a piece of its work takes.

    Args:
        name: of the side.
        work: the work.
        times: how often the work is done for one cost, which is the mean; more than once where once is too short.
        pieces: of which the work consists, where the sides do different numbers of them.
        clock: seconds.
    """

    def costs() -> Sequence[float]:
        begun = clock()
        for _ in range(times):
            work()
        return [(clock() - begun) / (times * pieces)]

    return Side(name, costs)


def alternate(sides: Sequence[Side], repeats: int, say: Callable[[str], None]) -> list[Rounds]:
    """Run all sides `repeats` times in turns, backwards in every second round, and return the costs of each."""
    rounds: list[Rounds] = [[] for _ in sides]
    for number in range(repeats):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for place in order:
            say(f"round {number + 1} of {repeats}: {sides[place].name}")
            rounds[place].append(sides[place].costs())
    return rounds


def ratios(above: Rounds, below: Rounds) -> Spread:
    """Return the spread of above / below, paired by round and by place within it; surplus parts are left out."""
    pairs = itertools.chain.from_iterable(zip(a, b, strict=False) for a, b in zip(above, below, strict=True))
    return spread_of([a / b for a, b in pairs])
