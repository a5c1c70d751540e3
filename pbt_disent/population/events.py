"""What happens in a run, for whoever watches: the live table, MLflow, and tests that crash a run on purpose.

An observer is told after the fact and cannot change anything; it must return at once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pbt_disent.population.manifest import Manifest
from pbt_disent.types import Json

__all__ = [
    "Event",
    "GenerationCommitted",
    "Observer",
    "Observers",
    "Phase",
    "RoundFinished",
    "RoundStarted",
    "TaskDone",
]


@dataclass(frozen=True)
class RoundStarted:
    """A round begins, or goes on after `done` committed generations.

    Args:
        path: of the round.
        members: size of the population.
        replicas: models per member.
        max_generations: at most so many generations.
        images: size of the image set that it trains on.
        images_per_generation: image passes of one replica in a generation.
        fitness: name of what it ranks by.
        done: generations that were committed before.
    """

    path: str
    members: int
    replicas: int
    max_generations: int
    images: int
    images_per_generation: int
    fitness: str
    done: int


@dataclass(frozen=True)
class TaskDone:
    """A training task of the current generation has ended; `images` passes were paid."""

    path: str
    generation: int
    images: int


@dataclass(frozen=True)
class Phase:
    """The engine has passed a point within a generation."""

    path: str
    generation: int
    name: Literal["trained", "scored", "decided", "committed"]


@dataclass(frozen=True)
class GenerationCommitted:
    """A generation's manifest is on disk; `replayed` if it was there before this process started."""

    manifest: Manifest
    replayed: bool


@dataclass(frozen=True)
class RoundFinished:
    """A round has ended; `summary` is its entry in the log of rounds."""

    path: str
    reason: str
    summary: Json = field(default_factory=dict)


Event = RoundStarted | TaskDone | Phase | GenerationCommitted | RoundFinished


class Observer(Protocol):
    """Whoever watches a run."""

    def notify(self, event: Event) -> None:
        """Take note of an event."""
        ...


class Observers:
    """Several observers as one. Rounds that run side by side notify it in turn."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = list(observers)
        self._turn = threading.Lock()

    def notify(self, event: Event) -> None:
        """Pass the event to each, in order."""
        with self._turn:
            for observer in self._observers:
                observer.notify(event)
