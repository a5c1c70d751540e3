"""What a benchmark case is: our way and its baselines on the same work, checked to agree before anything is timed.

A file in `benchmarks.cases` adds a case, or a family of them, by registering it. Costs are seconds unless the case says
otherwise, and a smaller cost is always better. Most cases are a `Comparison` at one size; the others are a `Scaling`,
which measures how the cost grows with the size of the work.
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
    "Comparison",
    "ComputedCost",
    "Disagreement",
    "Goal",
    "Implementation",
    "Measurement",
    "Scaling",
    "ScalingImplementation",
    "Setup",
    "Size",
    "Unavailable",
]

Size = Literal["full", "quick", "tiny"]
T = TypeVar("T")


class Disagreement(PbtDisentError):
    """The implementations of a case do not compute the same, so that timing them would mean nothing."""


@dataclass(frozen=True)
class Goal:
    """What a figure should be: at least `value`, or at most.

    >>> str(Goal(1.3, at_most=True)), Goal(1.3, at_most=True).met(1.2)
    ('at most 1.3', True)
    """

    value: float
    at_most: bool = False

    def met(self, figure: float) -> bool:
        """Return whether a figure reaches the goal."""
        return figure <= self.value if self.at_most else figure >= self.value

    def __str__(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.value:g}"


@dataclass(frozen=True)
class Implementation:
    """One way to do a case's work.

    Args:
        name: What it is, as a row of the table.
        costs: A function that does the work once and returns its cost, or the costs of its parts in order (of each
            generation, for example).
    """

    name: str
    costs: Callable[[], Sequence[float]]


@dataclass(frozen=True)
class ComputedCost:
    """A baseline whose cost follows from its description; it has a line of its own and is never the headline."""

    name: str
    cost: float
    how: str


@dataclass(frozen=True)
class Unavailable:
    """A baseline that could not run here, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Measurement:
    """A figure beside the ratio, such as a share of the machine's peak."""

    name: str
    value: float
    unit: str
    goal: Goal | None = None


def _no_measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
    return ()


@dataclass(frozen=True)
class Comparison:
    """A case at one size, ready to run.

    Args:
        ours: Our implementation.
        baselines: The other implementations, in any order. The headline is against the best of those that run.
        check: A function that has all implementations do the work once, untimed, and says in one phrase how well their
            results agree. It raises `Disagreement` where they do not.
        repeats: The number of times that each implementation is timed in a session.
        unit: The unit of the costs.
        measurements: A function that returns what else to report, given the median cost of each implementation by name.
    """

    ours: Implementation
    baselines: Sequence[Implementation | ComputedCost | Unavailable]
    check: Callable[[], str]
    repeats: int
    unit: str = "s"
    measurements: Callable[[Mapping[str, float]], Sequence[Measurement]] = _no_measurements


@dataclass(frozen=True)
class ScalingImplementation:
    """One way to do work of any size.

    Args:
        name: What it is.
        cost: A function that does the work at a size once and returns its cost. It warms up by itself where it has to.
        max_size: The largest size that it is asked for; None for no limit.
    """

    name: str
    cost: Callable[[int], float]
    max_size: int | None = None


@dataclass(frozen=True)
class Scaling:
    """A case that measures how the cost grows with the size of the work.

    Args:
        dimension: What grows, such as ``members``.
        sizes: The sizes, two or more in ascending order.
        expected_exponent: The exponent p that the cost, as size to the power p, should have: 1 for what is done once
            for each of them, 0 for what must not depend on them.
        ours: Our implementation.
        check: As in `Comparison`; it checks the work itself where there is no other way to do it.
        repeats: The number of times that each size is timed in a session.
        baselines: Other implementations, whose exponents are reported too.
        unit: The unit of the costs.
        measurements: A function that returns what else to report, given our median cost by size.
    """

    dimension: str
    sizes: Sequence[int]
    expected_exponent: float
    ours: ScalingImplementation
    check: Callable[[], str]
    repeats: int
    baselines: Sequence[ScalingImplementation | Unavailable] = ()
    unit: str = "s"
    measurements: Callable[[Mapping[int, float]], Sequence[Measurement]] = lambda medians: ()

    TOLERANCE: ClassVar[Goal] = Goal(1.1, at_most=True)
    """The goal of the growth per doubling of the size over the expected one. It allows 0.14 in the exponent."""


@dataclass(frozen=True)
class Setup:
    """How large a case is to be, and where it may write.

    Args:
        size: ``full``; ``quick``, which takes minutes for all cases together; or ``tiny``, which proves that a case
            runs.
        folder: A temporary folder of this session's own.
        shared_folder: A temporary folder of the case's own, which its later sessions find as the earlier ones left it:
            for inputs that take long to make.
        is_first_session: Whether this is the first session of the case, which measures what needs no spread.
    """

    size: Size
    folder: Path
    shared_folder: Path
    is_first_session: bool = True

    def pick(self, full: T, quick: T, tiny: T) -> T:
        """Return the value for this size."""
        return {"full": full, "quick": quick, "tiny": tiny}[self.size]


@dataclass(frozen=True)
class Case:
    """An entry of the registry.

    Args:
        summary: What is compared, in one line.
        prepare: A function that makes the comparison, or the scaling. It imports what it needs by itself, so that
            listing cases stays quick.
        goal: The goal of a comparison's ratio; that of a scaling is `Scaling.TOLERANCE`. Where it is a lower bound the
            ratio is baseline over ours, where it is an upper one ours over baseline: "at most 1.3 times the baseline".
        needs_gpu: Whether the case needs a GPU.
        max_sessions: The number of sessions at most, for a case that takes long; None for as many as the others.
    """

    summary: str
    prepare: Callable[[Setup], Comparison | Scaling]
    goal: Goal | None = None
    needs_gpu: bool = False
    max_sessions: int | None = None

    @property
    def ours_over_baseline(self) -> bool:
        """Whether the ratio is ours over the baseline."""
        return self.goal is not None and self.goal.at_most


CASES: Registry[Case] = Registry("benchmark case", "benchmarks.cases")
