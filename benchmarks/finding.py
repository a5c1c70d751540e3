"""What a case found: the headline, a line for every peer, the curves of a growth, and figures beside them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from benchmarks.case import Goal, Measure
from benchmarks.timing import Spread, interval_of
from pbt_disent.types import Json

__all__ = ["Curve", "Finding", "Line", "merged"]


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
class Curve:
    """How the cost of one way grows.

    Args:
        name: of the way.
        sizes: of the work.
        costs: median at each size.
        exponent: over all sizes.
        last: exponent between the two largest sizes, where a fixed part weighs least.
    """

    name: str
    sizes: Sequence[int]
    costs: Sequence[float]
    exponent: Spread
    last: float


@dataclass(frozen=True)
class Finding:
    """What a case found.

    Args:
        case: its name.
        summary: what is compared.
        ratio: the headline; none where no peer ran.
        ratio_of: what is divided by what.
        peer: whom the headline is against: the best peer that ran, or the growth that the cost should have.
        goal: of the ratio.
        ours: cost of our way, at the largest size where the work grows.
        unit: of the costs.
        lines: one per peer, the best of those that ran first.
        agreement: how well the sides' results agree.
        measures: figures beside the ratio.
        repeats: rounds of a session.
        seconds: that the case took, all in all.
        of: what grows, if anything does.
        should_be: the exponent that it should have.
        curves: ours and those of the peers.
        sessions: that it was put together from.
        by_session: the headline in each of them; none where it is from one.
    """

    case: str
    summary: str
    ratio: Spread | None
    ratio_of: str
    peer: str | None
    goal: Goal | None
    ours: Spread
    unit: str
    lines: Sequence[Line]
    agreement: str
    measures: Sequence[Measure]
    repeats: int
    seconds: float
    of: str | None = None
    should_be: float | None = None
    curves: Sequence[Curve] = ()
    sessions: int = 1
    by_session: Sequence[float] = ()

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches the goal; none without a goal or a ratio."""
        return self.goal.met(self.ratio.median) if self.goal and self.ratio else None

    def as_json(self) -> Json:
        """Return it as plain values."""
        ratio = self.ratio
        grows = {"of": self.of, "should_be": self.should_be, "curves": [asdict(one) for one in self.curves]}
        return {
            "case": self.case,
            "summary": self.summary,
            "ratio": ratio.median if ratio else None,
            "spread": [ratio.low, ratio.high] if ratio else None,
            "ratio_of": self.ratio_of,
            "peer": self.peer,
            "goal": self.goal.value if self.goal else None,
            "goal_is": str(self.goal) if self.goal else None,
            "met": self.met,
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
            **({"growth": grows} if self.curves else {}),
            "repeats": self.repeats,
            "sessions": self.sessions,
            "by_session": list(self.by_session),
            "seconds": round(self.seconds, 1),
        }


def merged(sessions: Sequence[Finding]) -> Finding:
    """Return what all sessions of a case found: the medians of theirs, and 95 % intervals.

    One session is returned as it is, with the quartiles of its rounds.
    """
    last = sessions[-1]
    if len(sessions) == 1:
        return last
    names = dict.fromkeys(line.peer for one in sessions for line in one.lines)
    lines = [_line([line for one in sessions for line in one.lines if line.peer == name]) for name in names]
    ran = sorted((line for line in lines if line.ran), key=lambda line: line.cost.median if line.cost else 0.0)
    peer = ran[0].peer if ran and not last.curves else last.peer
    headlines = [one.ratio for one in sessions] if last.curves else [_ratio_to(peer, one.lines) for one in sessions]
    measures = [measure for one in sessions for measure in one.measures]
    figures = dict.fromkeys(measure.name for measure in measures)
    return replace(
        last,
        ratio=_across(headlines),
        peer=peer,
        ours=interval_of([one.ours.median for one in sessions]),
        lines=(*ran, *(line for line in lines if not line.ran)),
        measures=[_measure([one for one in measures if one.name == name]) for name in figures],
        seconds=sum(one.seconds for one in sessions),
        curves=[_curve(curves) for curves in zip(*(one.curves for one in sessions), strict=True)],
        sessions=len(sessions),
        by_session=[one.median for one in headlines if one],
    )


def _across(spreads: Sequence[Spread | None]) -> Spread | None:
    medians = [one.median for one in spreads if one is not None]
    return interval_of(medians) if medians else None


def _ratio_to(peer: str | None, lines: Sequence[Line]) -> Spread | None:
    return next((line.ratio for line in lines if line.peer == peer), None)


def _line(lines: Sequence[Line]) -> Line:
    """Merge the lines of one peer, without the sessions in which it did not run."""
    kept = [line for line in lines if line.ran] or lines
    return replace(kept[-1], cost=_across([line.cost for line in kept]), ratio=_across([line.ratio for line in kept]))


def _measure(measures: Sequence[Measure]) -> Measure:
    return replace(measures[-1], value=statistics.median(one.value for one in measures))


def _curve(curves: Sequence[Curve]) -> Curve:
    costs = [statistics.median(each) for each in zip(*(one.costs for one in curves), strict=True)]
    exponent = interval_of([one.exponent.median for one in curves], logarithms=False)
    return replace(curves[-1], costs=costs, exponent=exponent, last=statistics.median(one.last for one in curves))
