"""What travels between driver, board, slots, pool and workers. Nothing here imports torch, so a slot stays thin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pbt_disent.errors import PbtDisentError
from pbt_disent.tune.retries import Cause

__all__ = ["Job", "JobKind", "Part", "Progress", "Result", "Statistics"]

JobKind = Literal["train", "score", "encode"]


@dataclass(frozen=True)
class Job:
    """A task as the pool sees it: only a worker looks inside.

    Args:
        key: names the task; the pool runs a key once, however often it is asked.
        kind: what a worker does with it.
        weight: how long it takes, in any unit that is the same for all jobs of a kind; the longest goes first.
        payload: the pickled task.
    """

    key: str
    kind: JobKind
    weight: float
    payload: bytes


@dataclass(frozen=True)
class Part:
    """One slot's share of a tick, which is one generation of one population.

    Args:
        tick: counts the generations of this driver, over all its populations.
        part: index of the share within its tick.
        jobs: what the slot hands to the pool.
    """

    tick: int
    part: int
    jobs: tuple[Job, ...]

    @property
    def place(self) -> tuple[int, int]:
        """Tick and part."""
        return self.tick, self.part


@dataclass(frozen=True)
class Result:
    """What came of a job.

    Args:
        key: the job's key.
        ok: whether the payload is the outcome.
        payload: the pickled outcome, or the pickled `PbtDisentError` that took its place.
        cause: what kept the job from its end, if something did.
    """

    key: str
    ok: bool
    payload: bytes
    cause: Cause | None = None


@dataclass(frozen=True)
class Statistics:
    """What the workers did so far.

    Args:
        hired: worker processes started.
        lost: of these, how many died or were given up.
        alive: how many are there now.
        jobs: jobs that a worker brought to an end.
        busy_seconds: time that workers spent on jobs, over all workers.
        causes: how many attempts brought no result, by what kept them from it.
    """

    hired: int
    lost: int
    alive: int
    jobs: int
    busy_seconds: float
    causes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far the pool is with a tick.

    Args:
        results: those that the caller has not seen, in the order in which they came.
        known: how many jobs of the tick were handed in.
        ended: why the pool works no more, if so.
    """

    results: tuple[Result, ...]
    known: int
    ended: PbtDisentError | None = None
