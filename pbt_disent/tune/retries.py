"""How often a task is tried again, by what went wrong: what the infrastructure does to it costs it nothing."""

from __future__ import annotations

from collections import Counter
from typing import Literal

__all__ = ["ATTEMPTS", "Cause", "Tally"]

Cause = Literal["node", "process", "stuck", "memory", "device", "storage", "code"]
"""Why an attempt brought no result: its node went or was cut off; the worker's process died; it took too long; memory
ran out; the GPU's context broke; the storage failed; the training code raised."""

ATTEMPTS: dict[Cause, int | None] = {
    "node": None,
    "process": 5,
    "stuck": 3,
    "memory": 3,
    "device": 3,
    "storage": 5,
    "code": 1,
}
"""Attempts that may end so; none is no bound. A task is pure, so an error of the code would only come again. A process
is counted because a task can take its worker down with it."""


class Tally:
    """Counts the attempts of one task that came to nothing."""

    def __init__(self) -> None:
        self._counts: Counter[Cause] = Counter()

    def add(self, cause: Cause) -> bool:
        """Count an attempt, and say whether the task is worth another one."""
        self._counts[cause] += 1
        allowed = ATTEMPTS[cause]
        return allowed is None or self._counts[cause] < allowed

    def __str__(self) -> str:
        """Say what was counted, such as ``2 x node, 3 x memory``."""
        return ", ".join(f"{count} x {cause}" for cause, count in self._counts.items())
