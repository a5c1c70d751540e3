"""The result of a case: the headline, a row for every baseline, the curves of a scaling, and figures beside them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from benchmarks.case import Goal, Measurement
from benchmarks.timing import Spread, confidence_interval
from pbt_disent.types import Json

__all__ = ["BaselineResult", "CaseResult", "ScalingCurve", "merge_sessions"]


@dataclass(frozen=True)
class BaselineResult:
    """Our implementation against one baseline.

    Args:
        baseline: The name of the baseline.
        cost: The cost of the baseline; None if it did not run.
        ratio: The ratio of the costs; None if the baseline did not run.
        remark: Why the baseline did not run, or how its cost was computed.
    """

    baseline: str
    cost: Spread | None
    ratio: Spread | None
    remark: str = ""

    @property
    def ran(self) -> bool:
        """Whether the baseline was timed here."""
        return self.ratio is not None and not self.remark


@dataclass(frozen=True)
class ScalingCurve:
    """How the cost of one implementation grows with the size of the work.

    Args:
        name: The name of the implementation.
        sizes: The sizes.
        costs: The median cost at each size.
        exponent: The exponent that fits best over all sizes.
        last_exponent: The exponent between the two largest sizes, where a fixed part weighs least.
    """

    name: str
    sizes: Sequence[int]
    costs: Sequence[float]
    exponent: Spread
    last_exponent: float


@dataclass(frozen=True)
class CaseResult:
    """The result of a case.

    Args:
        case: The name of the case.
        summary: What is compared.
        ratio: The headline; None where no baseline ran.
        ratio_of: What is divided by what.
        baseline: What the headline is against: the best baseline that ran, or the growth that the cost should have.
        goal: The goal of the ratio.
        ours: The cost of our implementation; of a scaling, at the largest size.
        unit: The unit of the costs.
        baselines: The baselines, the best of those that ran first.
        agreement: How well the results of the implementations agree.
        measurements: Figures beside the ratio.
        repeats: The number of rounds of a session.
        seconds: The time that the case took, all in all.
        dimension: What grows; None for a comparison.
        expected_exponent: The exponent that the cost should have; None for a comparison.
        curves: The curves of a scaling, ours first.
        sessions: The number of sessions that the result was merged from.
        ratio_by_session: The headline of each session; empty where there is one session.
    """

    case: str
    summary: str
    ratio: Spread | None
    ratio_of: str
    baseline: str | None
    goal: Goal | None
    ours: Spread
    unit: str
    baselines: Sequence[BaselineResult]
    agreement: str
    measurements: Sequence[Measurement]
    repeats: int
    seconds: float = 0.0
    dimension: str | None = None
    expected_exponent: float | None = None
    curves: Sequence[ScalingCurve] = ()
    sessions: int = 1
    ratio_by_session: Sequence[float] = ()

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches the goal; None without a goal or a ratio."""
        return self.goal.met(self.ratio.median) if self.goal and self.ratio else None

    def as_json(self) -> Json:
        """Return the result as plain values."""
        scaling = {
            "dimension": self.dimension,
            "expected_exponent": self.expected_exponent,
            "curves": [asdict(curve) for curve in self.curves],
        }
        return {
            "case": self.case,
            "summary": self.summary,
            "ratio": self.ratio.median if self.ratio else None,
            "spread": [self.ratio.low, self.ratio.high] if self.ratio else None,
            "ratio_of": self.ratio_of,
            "baseline": self.baseline,
            "goal": self.goal.value if self.goal else None,
            "goal_is": str(self.goal) if self.goal else None,
            "met": self.met,
            "agreement": self.agreement,
            "unit": self.unit,
            "ours": asdict(self.ours),
            "baselines": [asdict(baseline) for baseline in self.baselines],
            "measurements": [_measurement_as_json(measurement) for measurement in self.measurements],
            **({"scaling": scaling} if self.curves else {}),
            "repeats": self.repeats,
            "sessions": self.sessions,
            "ratio_by_session": list(self.ratio_by_session),
            "seconds": round(self.seconds, 1),
        }


def merge_sessions(sessions: Sequence[CaseResult]) -> CaseResult:
    """Return the result over all sessions of a case: the medians of theirs, and 95 % intervals.

    The result of a single session is returned as it is, with the quartiles of its rounds.
    """
    last = sessions[-1]
    if len(sessions) == 1:
        return last
    rows = [row for session in sessions for row in session.baselines]
    baselines = [_merge_baseline([row for row in rows if row.baseline == name]) for name in _names(rows, "baseline")]
    ran = sorted((row for row in baselines if row.ran), key=lambda row: row.cost.median if row.cost else 0.0)
    best = ran[0].baseline if ran and not last.curves else last.baseline
    if last.curves:
        headlines = [session.ratio for session in sessions]
    else:
        headlines = [row.ratio for session in sessions for row in session.baselines if row.baseline == best]
    measurements = [measurement for session in sessions for measurement in session.measurements]
    return replace(
        last,
        ratio=_merge_spreads(headlines),
        baseline=best,
        ours=confidence_interval([session.ours.median for session in sessions]),
        baselines=(*ran, *(row for row in baselines if not row.ran)),
        measurements=[
            _merge_measurement([measurement for measurement in measurements if measurement.name == name])
            for name in _names(measurements, "name")
        ],
        seconds=sum(session.seconds for session in sessions),
        curves=[_merge_curve(curves) for curves in zip(*(session.curves for session in sessions), strict=True)],
        sessions=len(sessions),
        ratio_by_session=[headline.median for headline in headlines if headline],
    )


def _measurement_as_json(measurement: Measurement) -> Json:
    goal = measurement.goal
    return {
        "name": measurement.name,
        "value": measurement.value,
        "unit": measurement.unit,
        "goal_is": str(goal) if goal else None,
        "met": goal.met(measurement.value) if goal else None,
    }


def _names(entries: Sequence[BaselineResult] | Sequence[Measurement], attribute: str) -> list[str]:
    """Return the different names of some entries, in order."""
    return list(dict.fromkeys(getattr(entry, attribute) for entry in entries))


def _merge_spreads(spreads: Sequence[Spread | None]) -> Spread | None:
    medians = [spread.median for spread in spreads if spread is not None]
    return confidence_interval(medians) if medians else None


def _merge_baseline(rows: Sequence[BaselineResult]) -> BaselineResult:
    """Merge the rows of one baseline, without the sessions in which it did not run."""
    rows = [row for row in rows if row.ran] or rows
    return replace(
        rows[-1],
        cost=_merge_spreads([row.cost for row in rows]),
        ratio=_merge_spreads([row.ratio for row in rows]),
    )


def _merge_measurement(measurements: Sequence[Measurement]) -> Measurement:
    return replace(measurements[-1], value=statistics.median(measurement.value for measurement in measurements))


def _merge_curve(curves: Sequence[ScalingCurve]) -> ScalingCurve:
    return replace(
        curves[-1],
        costs=[statistics.median(costs) for costs in zip(*(curve.costs for curve in curves), strict=True)],
        exponent=confidence_interval([curve.exponent.median for curve in curves], logarithms=False),
        last_exponent=statistics.median(curve.last_exponent for curve in curves),
    )
