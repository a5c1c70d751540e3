"""How long a job may take before it counts as stuck."""

from __future__ import annotations

from dataclasses import dataclass, field

from pbt_disent.tune.messages import Job

__all__ = ["Watchdog"]


@dataclass
class Watchdog:
    """Learns from finished jobs how long others of their kind may take; a worker that exceeds it is given up.

    Args:
        first_seconds: allowed while no job of the kind has ended yet.
        least_seconds: allowed at least.
        patience: a job is stuck at this many times the slowest pace seen.
    """

    first_seconds: float = 4 * 3600.0
    least_seconds: float = 900.0
    patience: float = 20.0
    _slowest: dict[str, float] = field(default_factory=dict)

    def observe(self, job: Job, seconds: float) -> None:
        """Take note of a job that ended."""
        self._slowest[job.kind] = max(self._slowest.get(job.kind, 0.0), seconds / max(job.weight, 1.0))

    def allowance(self, job: Job) -> float:
        """Return how many seconds a job may take."""
        if job.kind not in self._slowest:
            return self.first_seconds
        return max(self.least_seconds, self.patience * self._slowest[job.kind] * max(job.weight, 1.0))
