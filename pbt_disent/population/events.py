"""The events of a run, for its observers: the live table, the clock, MLflow, and tests that crash a run on purpose.

An observer is notified after the fact and cannot change anything; it must return at once.
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
    """A training task of the current generation has ended.

    Args:
        path: The path of the round.
        generation: The number of the generation, from 0.
        image_passes: The image passes that the task paid.
    """

    path: str
    generation: int
    image_passes: int


@dataclass(frozen=True)
class Phase:
    """The engine has passed a point within a generation.

    Args:
        path: The path of the round.
        generation: The number of the generation, from 0.
        name: The point that was passed.
    """

    path: str
    generation: int
    name: Literal["trained", "scored", "decided", "committed"]


@dataclass(frozen=True)
class GenerationCommitted:
    """A generation's manifest is on disk.

    Args:
        manifest: The manifest.
        replayed: Whether it was there before this process started.
    """

    manifest: Manifest
    replayed: bool


@dataclass(frozen=True)
class RoundFinished:
    """A round has ended.

    Args:
        path: The path of the round.
        reason: The reason, as from `pbt_disent.population.rule.stop_reason`.
    """

    path: str
    reason: str


Event = RoundStarted | TaskDone | Phase | GenerationCommitted | RoundFinished


class Observer(Protocol):
    """What is notified of the events of a run."""

    def notify(self, event: Event) -> None:
        """Take note of an event."""
        ...


class Observers:
    """Several observers as one, which rounds that run side by side may notify from several threads.

    Args:
        observers: The observers, in the order in which they are notified.
    """

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = list(observers)
        self._lock = threading.Lock()

    def notify(self, event: Event) -> None:
        """Pass the event to each, in order."""
        with self._lock:
            for observer in self._observers:
                observer.notify(event)
