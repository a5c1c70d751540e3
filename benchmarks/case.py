"""What a benchmark case is: our way and its peers on the same work, checked to agree before anything is timed.

A file in `benchmarks.cases` adds a case, or a family of them, by registering it. Costs are seconds unless the
case says otherwise, and a smaller cost is always better. Most cases are a `Contest` at one size; the others are a
`Growth`, which asks how the cost grows with the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pbt_disent.errors import PbtDisentError
from pbt_disent.registry import Registry

__all__ = [
    "CASES",
    "Case",
    "Computed",
    "Contest",
    "Disagreement",
    "Goal",
    "Grower",
    "Growth",
    "Measure",
    "NotRun",
    "Setting",
    "Side",
]

Size = Literal["full", "quick", "tiny"]
T = TypeVar("T")


class Disagreement(PbtDisentError):
    """The two sides of a case do not compute the same, so that timing them would mean nothing."""


@dataclass(frozen=True)
class Goal:
    """What a figure should be: at least `value`, or at most."""

    value: float
    at_most: bool = False

    def met(self, figure: float) -> bool:
        """Return whether a figure reaches the goal."""
        return figure <= self.value if self.at_most else figure >= self.value

    def __str__(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.value:g}"


@dataclass(frozen=True)
class Side:
    """One way to do a case's work.

    Args:
        name: what it is, as a row of the table.
        costs: does the work once and returns its cost, or the costs of its parts in order (of each generation, say).
    """

    name: str
    costs: Callable[[], Sequence[float]]


@dataclass(frozen=True)
class Computed:
    """A peer whose cost follows from its description; it has a line of its own and is never the headline."""

    name: str
    cost: float
    how: str


@dataclass(frozen=True)
class NotRun:
    """A peer that could not run here, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Measure:
    """A figure beside the ratio, such as a share of the machine's peak."""

    name: str
    value: float
    unit: str
    goal: Goal | None = None


def _nothing(medians: Mapping[str, float]) -> Sequence[Measure]:
    return ()


@dataclass(frozen=True)
class Contest:
    """A case, ready to run.

    Args:
        ours: our way.
        peers: the other ways, in any order; the headline is against the best of those that run.
        agree: has both sides do the work once, untimed, and says in one phrase how well their results agree; it raises
            `Disagreement` where they do not.
        repeats: how often each side is timed in a session.
        unit: of the costs.
        measures: what else to report, given the median cost by the name of each side.
    """

    ours: Side
    peers: Sequence[Side | Computed | NotRun]
    agree: Callable[[], str]
    repeats: int
    unit: str = "s"
    measures: Callable[[Mapping[str, float]], Sequence[Measure]] = _nothing


@dataclass(frozen=True)
class Grower:
    """One way to do work that grows.

    Args:
        name: what it is.
        cost: does the work at a size once and returns its cost; warming up is its own business.
        most: the largest size that it is asked for; none for no limit.
    """

    name: str
    cost: Callable[[int], float]
    most: int | None = None


@dataclass(frozen=True)
class Growth:
    """A case whose work grows.

    Args:
        of: what grows, such as ``members``.
        sizes: two or more, ascending.
        should_be: the exponent p that the cost, as size to the power p, should have: 1 for what is done once for each
            of them, 0 for what must not depend on them.
        ours: our way.
        agree: as in `Contest`; checks the work itself where there is no other way.
        repeats: how often each size is timed in a session.
        peers: other ways, whose exponents are reported too.
        unit: of the costs.
        measures: what else to report, given our median cost by size.
    """

    of: str
    sizes: Sequence[int]
    should_be: float
    ours: Grower
    agree: Callable[[], str]
    repeats: int
    peers: Sequence[Grower | NotRun] = ()
    unit: str = "s"
    measures: Callable[[Mapping[int, float]], Sequence[Measure]] = lambda medians: ()

    TOLERANCE: ClassVar[Goal] = Goal(1.1, at_most=True)
    """Of the ratio: growth for each doubling of the size, over what it should be. It allows 0.14 in the exponent."""


@dataclass(frozen=True)
class Setting:
    """How large a case is to be, and where it may write.

    Args:
        size: ``full``; ``quick``, minutes for all cases together; or ``tiny``, which proves that a case runs.
        folder: a temporary folder of this session's own.
        kept: a temporary folder of the case's own, which its later sessions find as the earlier ones left it: for
            inputs that take long to make.
        first: whether this is the first session of the case, which measures what needs no spread.
    """

    size: Size
    folder: Path
    kept: Path
    first: bool = True

    def pick(self, full: T, quick: T, tiny: T) -> T:
        """Return the value for this size."""
        return {"full": full, "quick": quick, "tiny": tiny}[self.size]


@dataclass(frozen=True)
class Case:
    """An entry of the registry.

    Args:
        summary: what is compared, in one line.
        prepare: makes the contest, or the growth; importing what it needs is its own business, so that listing cases
            stays quick.
        goal: of a contest's ratio; that of a growth is `Growth.TOLERANCE`. Where it is a lower bound the ratio is peer
            over ours, where it is an upper one ours over peer: "at most 1.3 times the peer".
        gpu: whether it needs one.
        most_sessions: that it has, as it takes long; none for as many as the others.
    """

    summary: str
    prepare: Callable[[Setting], Contest | Growth]
    goal: Goal | None = None
    gpu: bool = False
    most_sessions: int | None = None

    @property
    def inverse(self) -> bool:
        """Whether the ratio is ours over peer."""
        return self.goal is not None and self.goal.at_most


CASES: Registry[Case] = Registry("benchmark case", "benchmarks.cases")
