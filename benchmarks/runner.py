"""Run one case: agree, time in turns, compare."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.case import CASES, Case, Computed, Contest, Growth, NotRun, Setting, Side, Size
from benchmarks.finding import Finding, Line
from benchmarks.growth import run_growth
from benchmarks.timing import Spread, alternate, ratios, spread_of

__all__ = ["run_case"]


def run_case(
    name: str, size: Size, say: Callable[[str], None], kept: Path | None = None, *, first: bool = True
) -> Finding:
    """Run one session of a case, from start to end, in a temporary folder.

    Args:
        name: in the registry.
        size: see `Setting`.
        say: told what is going on.
        kept: see `Setting`, and the session's own folder lies beside it; none for one that goes with the session.
        first: see `Setting`.

    Raises:
        UserError: no such case.
        Disagreement: its sides do not compute the same.
    """
    case = CASES[name]
    begun = time.monotonic()
    beside = kept.parent if kept else None
    with tempfile.TemporaryDirectory(prefix="pbt-disent-bench-", dir=beside) as folder:
        say("preparing")
        own, kept = Path(folder) / "session", kept or Path(folder) / "kept"
        own.mkdir()
        kept.mkdir(exist_ok=True)
        prepared = case.prepare(Setting(size, own, kept, first))
        if isinstance(prepared, Growth):
            finding = run_growth(name, case.summary, prepared, say)
        else:
            finding = _run_contest(name, case, prepared, say)
    return replace(finding, seconds=time.monotonic() - begun)


def _run_contest(name: str, case: Case, contest: Contest, say: Callable[[str], None]) -> Finding:
    say("comparing results")
    agreement = contest.agree()
    runnable = [peer for peer in contest.peers if isinstance(peer, Side)]
    sides = [contest.ours, *runnable]
    ours, *theirs = alternate(sides, contest.repeats, say)
    costs = [spread_of(list(itertools.chain.from_iterable(rounds))) for rounds in (ours, *theirs)]
    lines = [
        Line(peer.name, cost, ratios(ours, rounds) if case.inverse else ratios(rounds, ours))
        for peer, cost, rounds in zip(runnable, costs[1:], theirs, strict=True)
    ]
    lines.sort(key=lambda line: line.cost.median if line.cost else 0.0)
    say("measuring")
    measures = contest.measures({side.name: cost.median for side, cost in zip(sides, costs, strict=True)})
    others = [_other(peer, costs[0], case.inverse) for peer in contest.peers if not isinstance(peer, Side)]
    return Finding(
        case=name,
        summary=case.summary,
        ratio=lines[0].ratio if lines else None,
        ratio_of="ours / peer" if case.inverse else "peer / ours",
        peer=lines[0].peer if lines else None,
        goal=case.goal,
        ours=costs[0],
        unit=contest.unit,
        lines=(*lines, *others),
        agreement=agreement,
        measures=tuple(measures),
        repeats=contest.repeats,
        seconds=0.0,
    )


def _other(peer: Computed | NotRun, ours: Spread, inverse: bool) -> Line:
    if isinstance(peer, NotRun):
        return Line(peer.name, None, None, f"not run: {peer.reason}")
    bounds: Sequence[float] = [
        ours_cost / peer.cost if inverse else peer.cost / ours_cost for ours_cost in (ours.low, ours.median, ours.high)
    ]
    low, median, high = sorted(bounds)
    cost = Spread(peer.cost, peer.cost, peer.cost, 0)
    return Line(peer.name, cost, Spread(median, low, high, 0), f"computed: {peer.how}")
