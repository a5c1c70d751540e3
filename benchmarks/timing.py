"""Timing in turns: every implementation once per round, in alternating order, so that a drift meets all alike."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.case import Implementation

__all__ = ["Spread", "confidence_interval", "cost_by_size", "exponent", "quartiles", "ratios", "time_in_turns", "timed"]

Rounds = list[Sequence[float]]
"""The costs of one implementation, round by round."""


@dataclass(frozen=True)
class Spread:
    """Median and bounds of some samples: quartiles of rounds, or the 95 % interval of the mean of sessions."""

    median: float
    low: float
    high: float
    samples: int


def quartiles(samples: Sequence[float]) -> Spread:
    """Return the median and the quartiles of at least one sample.

    >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
    Spread(median=3.0, low=2.0, high=4.0, samples=5)
    """
    low, median, high = (float(value) for value in np.quantile(samples, (0.25, 0.5, 0.75)))
    return Spread(median, low, high, len(samples))


def confidence_interval(samples: Sequence[float], *, logarithms: bool = True) -> Spread:
    """Return the median of independent samples and the 95 % interval of their mean, by Student's t.

    Args:
        samples: One or more samples; a single one is returned without an interval.
        logarithms: Whether to compute the interval on the logarithms of the samples, which must be positive then; the
            mean is the geometric one.
    """
    from scipy.stats import t as student  # large, and what is measured in a process of its own is to go without

    median, count = statistics.median(samples), len(samples)
    if count == 1:
        return Spread(median, median, median, 1)
    values = [math.log(sample) for sample in samples] if logarithms else samples
    mean = statistics.fmean(values)
    margin = float(student.ppf(0.975, count - 1)) * statistics.stdev(values) / math.sqrt(count)
    low, high = mean - margin, mean + margin
    return Spread(median, math.exp(low), math.exp(high), count) if logarithms else Spread(median, low, high, count)


def timed(
    name: str,
    work: Callable[[], object],
    *,
    number: int = 1,
    items: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Implementation:
    """Return an implementation whose cost is the time that its work takes for one item.

    Args:
        name: The name of the implementation.
        work: The work.
        number: How often the work is done for one cost, which is the mean; more than once where once is too short.
        items: The number of items that the work consists of, where the implementations do different numbers of them.
        clock: A function that returns seconds.
    """

    def costs() -> Sequence[float]:
        start = clock()
        for _ in range(number):
            work()
        return [(clock() - start) / (number * items)]

    return Implementation(name, costs)


def time_in_turns(implementations: Sequence[Implementation], repeats: int, log: Callable[[str], None]) -> list[Rounds]:
    """Run all implementations in turns, in reverse order in every second round, and return the costs of each.

    Args:
        implementations: What to run.
        repeats: The number of rounds.
        log: A function that is told what is going on.
    """
    rounds: list[Rounds] = [[] for _ in implementations]
    for number in range(repeats):
        order = range(len(implementations)) if number % 2 == 0 else reversed(range(len(implementations)))
        for index in order:
            log(f"round {number + 1} of {repeats}: {implementations[index].name}")
            rounds[index].append(implementations[index].costs())
    return rounds


def ratios(above: Rounds, below: Rounds) -> Spread:
    """Return the spread of above / below, paired by round and by place within it; surplus parts are left out."""
    pairs = itertools.chain.from_iterable(zip(a, b, strict=False) for a, b in zip(above, below, strict=True))
    return quartiles([a / b for a, b in pairs])


def exponent(costs: Mapping[int, float]) -> float:
    """Return the exponent p with which the cost, as size to the power p, fits best on logarithmic scales.

    >>> round(exponent({10: 3.0, 20: 12.0, 40: 48.0}), 6)
    2.0
    """
    sizes, values = zip(*sorted(costs.items()), strict=True)
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def cost_by_size(work: Callable[[int], object]) -> Callable[[int], float]:
    """Return a function of a size that times the work at it twice and returns the faster time.

    The first one finds its memory cold.
    """

    def cost(size: int) -> float:
        return min(timed("", lambda: work(size)).costs()[0] for _ in range(2))

    return cost
