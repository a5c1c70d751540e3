"""Run a case whose work grows: every way at every size, in turns, and the exponent of each way's cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.case import Grower, Growth, NotRun
from benchmarks.finding import Curve, Finding, Line
from benchmarks.timing import spread_of

__all__ = ["exponent", "run_growth"]

Costs = list[dict[int, float]]
"""Round by round, the cost at each size."""


def exponent(costs: Mapping[int, float]) -> float:
    """Return p of the cost as size to the power p that fits best, on logarithmic scales."""
    sizes, values = zip(*sorted(costs.items()), strict=True)
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def run_growth(name: str, summary: str, growth: Growth, say: Callable[[str], None]) -> Finding:
    """Agree, time, and fit.

    Args:
        name: of the case.
        summary: of the case.
        growth: what it prepared.
        say: told what is going on.

    Raises:
        Disagreement: the work is not done right.
    """
    say("comparing results")
    agreement = growth.agree()
    growers = [growth.ours, *(peer for peer in growth.peers if isinstance(peer, Grower))]
    rounds: list[Costs] = [[] for _ in growers]
    for number in range(growth.repeats):
        measured: list[dict[int, float]] = [{} for _ in growers]
        turns = [(size, place) for size in growth.sizes for place in range(len(growers))]
        for size, place in turns if number % 2 == 0 else reversed(turns):
            grower = growers[place]
            if grower.most is None or size <= grower.most:
                say(f"round {number + 1} of {growth.repeats}: {grower.name}, {size:,} {growth.of}")
                measured[place][size] = grower.cost(size)
        for place, found in enumerate(measured):
            rounds[place].append(found)
    curves = [_curve(grower.name, costs) for grower, costs in zip(growers, rounds, strict=True)]
    ours = curves[0]
    ratio = spread_of([2.0 ** (exponent(costs) - growth.should_be) for costs in rounds[0]])
    lines = [
        *(
            _line(growth.of, grower.name, rounds[0], costs)
            for grower, costs in zip(growers[1:], rounds[1:], strict=True)
        ),
        *(Line(peer.name, None, None, f"not run: {peer.reason}") for peer in growth.peers if isinstance(peer, NotRun)),
    ]
    say("measuring")
    return Finding(
        case=name,
        summary=summary,
        ratio=ratio,
        ratio_of="growth per doubling / what it should be",
        peer=f"{growth.of} to the power {growth.should_be:g}",
        goal=growth.TOLERANCE,
        ours=spread_of([costs[growth.sizes[-1]] for costs in rounds[0]]),
        unit=growth.unit,
        lines=lines,
        agreement=agreement,
        measures=tuple(growth.measures(dict(zip(ours.sizes, ours.costs, strict=True)))),
        repeats=growth.repeats,
        seconds=0.0,
        of=growth.of,
        should_be=growth.should_be,
        curves=curves,
    )


def _curve(name: str, rounds: Costs) -> Curve:
    sizes = sorted(rounds[0])
    medians = {size: float(np.median([costs[size] for costs in rounds])) for size in sizes}
    ends = {size: medians[size] for size in sizes[-2:]}
    fitted = spread_of([exponent(costs) for costs in rounds])
    return Curve(name, sizes, list(medians.values()), fitted, exponent(ends))


def _line(of: str, name: str, ours: Costs, theirs: Costs) -> Line:
    """Compare at the largest size that the peer was asked for."""
    size = max(theirs[0])
    ratio = spread_of([their[size] / our[size] for their, our in zip(theirs, ours, strict=True)])
    return Line(f"{name}, {size:,} {of}", spread_of([costs[size] for costs in theirs]), ratio)
