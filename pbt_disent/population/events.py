"""What happens in a run, for whoever watches: the live table, MLflow, and tests that crash a run on purpose.

An observer is told after the fact and cannot change anything; it must return at once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pbt_disent.population.fitness import Fitness
from pbt_disent.population.manifest import Manifest

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
        path: The path of the round.
        members: The number of members.
        replicas: The number of models per member.
        max_generations: The largest number of generations.
        num_images: The number of images in the set that it trains on.
        image_passes_per_generation: The image passes of one replica in a generation.
        fitness: What members are ranked by.
        done: The number of generations that were committed before.
    """

    path: str
    members: int
    replicas: int
    max_generations: int
    num_images: int
    image_passes_per_generation: int
    fitness: Fitness
    done: int


@dataclass(frozen=True)
class TaskDone:
    """A training task of the current generation has ended, and this number of image passes was paid."""

    path: str
    generation: int
    image_passes: int


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
    """A round has ended."""

    path: str
    reason: str


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
