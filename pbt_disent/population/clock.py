"""When things happened in a run: its clock, apart from the manifests, which hold none.

The rows of ``clock.jsonl`` are events with a time, in seconds since 1970:

    opened                                                       a process has taken the run up
    began       path                                             a round begins, or goes on
    beat        path generation image_passes                     the image passes paid in a generation so far
    generation  path generation image_passes training all        a generation was committed
    ended       path                                             the round has ended
    closed                                                       the process has let the run go

`image_passes` and the seconds in `training` and in `all` are those of one generation of one round, whatever other
rounds run beside it. Nothing depends on this file but what people are told of time and waste.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from pbt_disent.files import read_json_lines
from pbt_disent.population.events import (
    Event,
    GenerationCommitted,
    Phase,
    RoundFinished,
    RoundStarted,
    TaskDone,
)
from pbt_disent.types import Json

__all__ = ["CLOCK", "Clock", "RoundTime", "Spent", "read_clock", "spent"]

CLOCK = "clock.jsonl"
_BEAT_SECONDS = 5.0


class Clock:
    """Writes the clock of a run: an observer, and a context manager around the process that executes it.

    Args:
        folder: of the run.
        now: tells the time.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._path = folder / CLOCK
        self._now = now
        self._under_way: dict[str, _UnderWay] = {}

    def __enter__(self) -> Self:
        """Note that a process has taken the run up."""
        self._write("opened")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Note that it has let it go."""
        self._write("closed")

    def notify(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, RoundStarted):
            self._write("began", path=event.path)
            self._next(event.path)
        elif isinstance(event, TaskDone):
            one = self._under_way[event.path]
            one.paid += event.image_passes
            if self._now() - one.beat >= _BEAT_SECONDS:
                one.beat = self._now()
                self._write("beat", path=event.path, generation=event.generation, image_passes=one.paid)
        elif isinstance(event, Phase) and event.name == "trained":
            self._under_way[event.path].trained = self._now()
        elif isinstance(event, GenerationCommitted) and not event.replayed:
            now, manifest, one = self._now(), event.manifest, self._under_way[event.manifest.round]
            took = {"training": round(one.trained - one.start, 3), "all": round(now - one.start, 3)}
            self._write(
                "generation", path=manifest.round, generation=manifest.generation, image_passes=one.paid, **took
            )
            self._next(manifest.round)
        elif isinstance(event, RoundFinished):
            self._write("ended", path=event.path)

    def _next(self, path: str) -> None:
        now = self._now()
        self._under_way[path] = _UnderWay(now, now, now)

    def _write(self, event: str, **details: object) -> None:
        line = json.dumps({"event": event, "time": round(self._now(), 3), **details}, sort_keys=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@dataclass
class _UnderWay:
    """The generation of a round that is under way: when it began, was trained, was last told of, and what it paid."""

    start: float
    trained: float
    beat: float
    paid: int = 0


@dataclass
class RoundTime:
    """Seconds of a round's committed generations, those of them in training, and the image passes paid in them."""

    seconds: float = 0.0
    training: float = 0.0
    image_passes: int = 0


@dataclass
class Spent:
    """What a run has taken so far.

    Args:
        seconds: in which a process was at work on it, as far as known.
        processes: how many were, one after the other.
        rounds: the committed generations of each round, by path.
        within: seconds in which at least one round was under way, however many were.
        beside: seconds by which the rounds together took longer than that, as they ran side by side.
        lost_seconds: in generations that a stop or a crash kept from being committed, added up over rounds.
        lost_image_passes: image passes in those, as far as they were noted.
        under_way: image passes in the generation that is under way, for each round that is.
        opened: when the process that is at work took the run up; none if none does.
    """

    seconds: float = 0.0
    processes: int = 0
    rounds: dict[str, RoundTime] = field(default_factory=dict)
    within: float = 0.0
    beside: float = 0.0
    lost_seconds: float = 0.0
    lost_image_passes: int = 0
    under_way: dict[str, int] = field(default_factory=dict)
    opened: float | None = None

    @property
    def paid(self) -> int:
        """Image passes in all generations that are under way."""
        return sum(self.under_way.values())


def read_clock(folder: Path) -> list[Json]:
    """Return the whole rows of a run's clock, which may be growing; none if it has none."""
    return [row for row in read_json_lines(folder / CLOCK) if "event" in row]


def spent(rows: Iterable[Json]) -> Spent:
    """Add up a run's clock."""
    total = Spent()
    since: dict[str, float] = {}
    last = 0.0

    def lose() -> None:
        total.lost_seconds += sum(last - begun for begun in since.values())
        total.lost_image_passes += total.paid
        since.clear()
        total.under_way.clear()

    for row in rows:
        event, now, path = row["event"], float(row["time"]), str(row.get("path"))
        if event == "opened":
            lose()
            total.processes += 1
            total.opened = now
        elif total.opened is not None:
            passed = max(now - last, 0.0)
            total.seconds += passed
            total.within += passed if since else 0.0
            total.beside += passed * max(len(since) - 1, 0)
        last = now
        if event == "began":
            since[path], total.under_way[path] = now, 0
        elif event == "beat":
            total.under_way[path] = int(row["image_passes"])
        elif event == "generation":
            one = total.rounds.setdefault(path, RoundTime())
            one.seconds += row["all"]
            one.training += row["training"]
            one.image_passes += int(row["image_passes"])
            since[path], total.under_way[path] = now, 0
        elif event == "ended":
            since.pop(path, None)
            total.under_way.pop(path, None)
        elif event == "closed":
            lose()
            total.opened = None
    return total
