"""What a case found: the headline, a line for every peer, the curves of a growth, and figures beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pbt_disent.bench.case import Goal, Measure
from pbt_disent.bench.timing import Spread
from pbt_disent.types import Json

__all__ = ["Curve", "Finding", "Line"]


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
        repeats: rounds.
        seconds: that the case took, all in all.
        of: what grows, if anything does.
        should_be: the exponent that it should have.
        curves: ours and those of the peers.
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
            "seconds": round(self.seconds, 1),
        }
