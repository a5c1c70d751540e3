"""When an attempt at a work item counts as failed, and how often the item is tried again.

A lost node is never counted; every other cause has a bound.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pbt_disent.tune.messages import FailureCause, WorkItem

__all__ = ["MAX_ATTEMPTS", "FailureCounter", "TimeLimit"]

MAX_ATTEMPTS: dict[FailureCause, int | None] = {
    "node": None,
    "process": 5,
    "stuck": 3,
    "memory": 3,
    "device": 3,
    "storage": 5,
    "code": 1,
}
"""How many attempts at an item may end so; `None` sets no bound. Tasks are pure, so that an error of the code would
only come again. A lost process is counted because a task can take its worker down with it."""


class FailureCounter:
    """Counts the failed attempts at one work item, by cause."""

    def __init__(self) -> None:
        self._counts: Counter[FailureCause] = Counter()

    def add(self, cause: FailureCause) -> bool:
        """Count a failed attempt.

        Args:
            cause: Why it failed.

        Returns:
            Whether the item is worth another attempt.
        """
        self._counts[cause] += 1
        allowed = MAX_ATTEMPTS[cause]
        return allowed is None or self._counts[cause] < allowed

    def __str__(self) -> str:
        """Return the counts as text, such as ``2 x node, 3 x memory``."""
        return ", ".join(f"{count} x {cause}" for cause, count in self._counts.items())


@dataclass
class TimeLimit:
    """How long a work item may take before its worker counts as stuck, learned from the items that have ended.

    Args:
        initial_seconds: The limit for a kind of item of which none has ended yet.
        min_seconds: The lowest limit after that.
        slack: How many times the slowest pace seen, in seconds per weight, is allowed.
    """

    initial_seconds: float = 4 * 3600.0
    min_seconds: float = 900.0
    slack: float = 20.0
    _slowest: dict[str, float] = field(default_factory=dict)

    def observe(self, item: WorkItem, seconds: float) -> None:
        """Take into account that an item has ended after so many seconds."""
        self._slowest[item.kind] = max(self._slowest.get(item.kind, 0.0), seconds / max(item.weight, 1.0))

    def seconds_for(self, item: WorkItem) -> float:
        """Return how many seconds an item may take."""
        if item.kind not in self._slowest:
            return self.initial_seconds
        return max(self.min_seconds, self.slack * self._slowest[item.kind] * max(item.weight, 1.0))
