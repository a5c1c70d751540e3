"""When things happened in a run: its clock, apart from the manifests, which hold none.

The rows of ``clock.jsonl`` are events with a time, in seconds since 1970:

    opened                                                       a process starts to work on the run
    began       path                                             a round begins, or goes on
    beat        path generation image_passes                     the image passes paid in a generation so far
    generation  path generation image_passes training all        a generation was committed
    ended       path                                             the round has ended
    closed                                                       the process ends its work

`image_passes` and the seconds in `training` and in `all` are those of one generation of one round, whatever other
rounds run at the same time. Nothing depends on this file but the reports of time and waste.
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

__all__ = ["CLOCK", "Clock", "RoundTime", "RunUsage", "read_clock", "run_usage"]

CLOCK = "clock.jsonl"
_BEAT_SECONDS = 5.0


class Clock:
    """Writes the clock of a run: an observer, and a context manager around the process that executes it.

    Args:
        folder: The folder of the run.
        now: Returns the time, in seconds since 1970.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._path = folder / CLOCK
        self._now = now
        self._current: dict[str, _GenerationTimes] = {}

    def __enter__(self) -> Self:
        """Note that a process starts to work on the run."""
        self._write("opened")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Note that it ends its work."""
        self._write("closed")

    def notify(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, RoundStarted):
            self._write("began", path=event.path)
            self._start_generation(event.path)
        elif isinstance(event, TaskDone):
            times = self._current[event.path]
            times.image_passes += event.image_passes
            if self._now() - times.last_beat >= _BEAT_SECONDS:
                times.last_beat = self._now()
                self._write("beat", path=event.path, generation=event.generation, image_passes=times.image_passes)
        elif isinstance(event, Phase) and event.name == "trained":
            self._current[event.path].trained = self._now()
        elif isinstance(event, GenerationCommitted) and not event.replayed:
            now, manifest, times = self._now(), event.manifest, self._current[event.manifest.round]
            self._write(
                "generation",
                path=manifest.round,
                generation=manifest.generation,
                image_passes=times.image_passes,
                training=round(times.trained - times.start, 3),
                all=round(now - times.start, 3),
            )
            self._start_generation(manifest.round)
        elif isinstance(event, RoundFinished):
            self._write("ended", path=event.path)

    def _start_generation(self, path: str) -> None:
        now = self._now()
        self._current[path] = _GenerationTimes(now, now, now)

    def _write(self, event: str, **details: object) -> None:
        line = json.dumps({"event": event, "time": round(self._now(), 3), **details}, sort_keys=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@dataclass
class _GenerationTimes:
    """When the current generation of a round began, was trained, and was last written about, and what it paid."""

    start: float
    trained: float
    last_beat: float
    image_passes: int = 0


@dataclass
class RoundTime:
    """The time and the image passes of a round's committed generations.

    Args:
        seconds: The seconds that they took.
        training: The seconds of these in training.
        image_passes: The image passes paid in them.
    """

    seconds: float = 0.0
    training: float = 0.0
    image_passes: int = 0


@dataclass
class RunUsage:
    """The time and the image passes that a run has taken so far.

    Args:
        seconds: The seconds in which a process worked on it, as far as known.
        processes: The number of processes that worked on it, one after the other.
        rounds: The committed generations of each round, by path.
        active_seconds: The seconds in which one or more rounds were under way.
        overlap_seconds: The seconds by which the rounds together took longer than that, as they ran side by side.
        lost_seconds: The seconds in generations that a stop or a crash kept from being committed, added up over rounds.
        lost_image_passes: The image passes in those, as far as they were noted.
        current: The image passes in the generation that is under way, for each round that is.
        opened: The time at which the process that works on it now started, or None if no process does.
    """

    seconds: float = 0.0
    processes: int = 0
    rounds: dict[str, RoundTime] = field(default_factory=dict)
    active_seconds: float = 0.0
    overlap_seconds: float = 0.0
    lost_seconds: float = 0.0
    lost_image_passes: int = 0
    current: dict[str, int] = field(default_factory=dict)
    opened: float | None = None

    @property
    def current_image_passes(self) -> int:
        """The image passes in all generations that are under way."""
        return sum(self.current.values())


def read_clock(folder: Path) -> list[Json]:
    """Return the whole rows of a run's clock, which may be growing; an empty list if it has none."""
    return [row for row in read_json_lines(folder / CLOCK) if "event" in row]


def run_usage(rows: Iterable[Json]) -> RunUsage:
    """Add up a run's clock.

    >>> rows = [
    ...     {"event": "opened", "time": 0},
    ...     {"event": "began", "time": 1, "path": "0"},
    ...     {"event": "generation", "time": 9, "path": "0", "image_passes": 500, "training": 7, "all": 8},
    ...     {"event": "closed", "time": 10},
    ... ]
    >>> usage = run_usage(rows)
    >>> usage.seconds, usage.rounds["0"].image_passes
    (10.0, 500)

    Args:
        rows: The rows of the clock, as from `read_clock`.
    """
    usage = RunUsage()
    starts: dict[str, float] = {}
    last = 0.0

    def lose_current_generations() -> None:
        usage.lost_seconds += sum(last - start for start in starts.values())
        usage.lost_image_passes += usage.current_image_passes
        starts.clear()
        usage.current.clear()

    for row in rows:
        event, now, path = row["event"], float(row["time"]), str(row.get("path"))
        if event == "opened":
            lose_current_generations()
            usage.processes += 1
            usage.opened = now
        elif usage.opened is not None:
            elapsed = max(now - last, 0.0)
            usage.seconds += elapsed
            usage.active_seconds += elapsed if starts else 0.0
            usage.overlap_seconds += elapsed * max(len(starts) - 1, 0)
        last = now
        if event == "began":
            starts[path], usage.current[path] = now, 0
        elif event == "beat":
            usage.current[path] = int(row["image_passes"])
        elif event == "generation":
            time_of_round = usage.rounds.setdefault(path, RoundTime())
            time_of_round.seconds += row["all"]
            time_of_round.training += row["training"]
            time_of_round.image_passes += int(row["image_passes"])
            starts[path], usage.current[path] = now, 0
        elif event == "ended":
            starts.pop(path, None)
            usage.current.pop(path, None)
        elif event == "closed":
            lose_current_generations()
            usage.opened = None
    return usage
