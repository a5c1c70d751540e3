"""Run one case: agree, time in turns, compare."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pbt_disent.bench.case import CASES, Computed, Goal, Measure, NotRun, Setting, Side, Size
from pbt_disent.bench.timing import Spread, alternate, ratios, spread_of
from pbt_disent.types import Json

__all__ = ["Finding", "Line", "run_case"]


@dataclass(frozen=True)
class Line:
    """Our way against one peer.

    Args:
        peer: its name.
        cost: none if it did not run.
        ratio: none if it did not run.
        remark: why it did not run, or how its cost was computed.
    """

    peer: str
    cost: Spread | None
    ratio: Spread | None
    remark: str = ""

    @property
    def ran(self) -> bool:
        """Whether it was timed here."""
        return self.ratio is not None and not self.remark


@dataclass(frozen=True)
class Finding:
    """What a case found.

    Args:
        case: its name.
        summary: what is compared.
        ratio_of: ``peer / ours`` or ``ours / peer``.
        goal: of the ratio.
        ours: cost of our way.
        unit: of the costs.
        lines: one per peer, the best of those that ran first.
        agreement: how well the sides' results agree.
        measures: figures beside the ratio.
        repeats: rounds.
        seconds: that the case took, all in all.
    """

    case: str
    summary: str
    ratio_of: str
    goal: Goal | None
    ours: Spread
    unit: str
    lines: tuple[Line, ...]
    agreement: str
    measures: tuple[Measure, ...]
    repeats: int
    seconds: float

    @property
    def headline(self) -> Line | None:
        """The line of the best peer that ran."""
        return self.lines[0] if self.lines and self.lines[0].ran else None

    def as_json(self) -> Json:
        """Return it as plain values."""
        line = self.headline
        ratio = line.ratio if line else None
        return {
            "case": self.case,
            "summary": self.summary,
            "ratio": ratio.median if ratio else None,
            "spread": [ratio.low, ratio.high] if ratio else None,
            "ratio_of": self.ratio_of,
            "peer": line.peer if line else None,
            "goal": self.goal.value if self.goal else None,
            "goal_is": str(self.goal) if self.goal else None,
            "met": self.goal.met(ratio.median) if self.goal and ratio else None,
            "agreement": self.agreement,
            "unit": self.unit,
            "ours": asdict(self.ours),
            "peers": [asdict(one) for one in self.lines],
            "measures": [
                {
                    "name": one.name,
                    "value": one.value,
                    "unit": one.unit,
                    "goal_is": str(one.goal) if one.goal else None,
                    "met": one.goal.met(one.value) if one.goal else None,
                }
                for one in self.measures
            ],
            "repeats": self.repeats,
            "seconds": round(self.seconds, 1),
        }


def run_case(name: str, size: Size, say: Callable[[str], None]) -> Finding:
    """Run a case from start to end in a temporary folder.

    Args:
        name: in the registry.
        size: see `Setting`.
        say: told what is going on.

    Raises:
        UserError: no such case.
        Disagreement: its sides do not compute the same.
    """
    case = CASES[name]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pbt-disent-bench-") as folder:
        say("preparing")
        contest = case.prepare(Setting(size, Path(folder)))
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
            ratio_of="ours / peer" if case.inverse else "peer / ours",
            goal=case.goal,
            ours=costs[0],
            unit=contest.unit,
            lines=(*lines, *others),
            agreement=agreement,
            measures=tuple(measures),
            repeats=contest.repeats,
            seconds=time.monotonic() - begun,
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
