"""What travels between the driver, the board, the trials, the pool and the workers.

Nothing here imports torch, so that the process of a trial stays small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pbt_disent.errors import PbtDisentError

__all__ = [
    "Cohort",
    "CohortId",
    "CollectedResults",
    "FailureCause",
    "PoolStatistics",
    "WorkItem",
    "WorkKind",
    "WorkResult",
]

WorkKind = Literal["train", "score", "encode"]

CohortId = tuple[int, int]
"""The number of the generation, and the index of the cohort in it."""

FailureCause = Literal["node", "process", "stuck", "memory", "device", "storage", "code"]
"""Why an attempt brought no result: its node went or was cut off; the worker's process died; it took too long; memory
ran out; the GPU's context broke; the storage failed; the training code raised."""


@dataclass(frozen=True)
class WorkItem:
    """A task as the pool sees it: only a worker looks inside.

    Args:
        key: The name of the task. The pool does the work of a key once, however often it is submitted.
        kind: What a worker does with the task.
        weight: How long the task takes, in any unit that is the same for all items of a kind. The heaviest goes first.
        payload: The pickled task.
    """

    key: str
    kind: WorkKind
    weight: float
    payload: bytes


@dataclass(frozen=True)
class WorkResult:
    """What came of a work item.

    Args:
        key: The key of the item.
        ok: Whether the payload is the outcome of the task.
        payload: The pickled outcome, or the pickled `PbtDisentError` that took its place.
        cause: What kept the last attempt from its end, or `None` if nothing did.
    """

    key: str
    ok: bool
    payload: bytes
    cause: FailureCause | None = None


@dataclass(frozen=True)
class Cohort:
    """The members of one generation that one trial carries.

    Args:
        generation: The number of the generation, counted by the driver over all its populations.
        index: The index of the cohort in its generation.
        items: The work that the trial submits to the pool.
    """

    generation: int
    index: int
    items: tuple[WorkItem, ...]

    @property
    def id(self) -> CohortId:
        """The number of the generation, and the index of the cohort in it."""
        return self.generation, self.index


@dataclass(frozen=True)
class CollectedResults:
    """The results of a generation that its driver has not received yet.

    Args:
        results: The results, in the order in which they came.
        num_submitted: How many items of the generation the trials have submitted so far.
        error: Why the pool works no more, or `None` while it does.
    """

    results: tuple[WorkResult, ...]
    num_submitted: int
    error: PbtDisentError | None = None


@dataclass(frozen=True)
class PoolStatistics:
    """What the workers have done so far.

    Args:
        started: The number of worker processes that were started.
        lost: How many of these died or were given up.
        alive: How many workers there are now.
        completed: The number of work items that a worker brought to an end.
        busy_seconds: The time that workers have spent on work items, over all workers.
        failures: The number of attempts that brought no result, by cause.
    """

    started: int
    lost: int
    alive: int
    completed: int
    busy_seconds: float
    failures: dict[str, int] = field(default_factory=dict)
