"""A run as it goes: a live table on a terminal, plain lines elsewhere, and records of progress for `status`."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pbt_disent.metrics import Interval, interval_ends
from pbt_disent.population.events import Event, GenerationCommitted, RoundFinished, RoundStarted, TaskDone
from pbt_disent.population.fitness import Fitness
from pbt_disent.population.manifest import Manifest, member_interval, score_text
from pbt_disent.tune.supervisor import PROGRESS_RECORDS
from pbt_disent.types import Json
from pbt_disent.units import duration

__all__ = ["GenerationSummary", "LiveProgress", "last_record", "summarize", "without_records"]

MOST_NAMED = 4
"""So many replacements are named one by one."""
TABLE_ROWS = 24
"""The number of generations in the table: the newest ones of the rounds that run, and of those before."""
RECORD = "progress: "
"""The beginning of a line that holds a record, as JSON."""


@dataclass(frozen=True)
class GenerationSummary:
    """What a committed generation of a round has come to.

    Args:
        round: The path of the round.
        generation: The number of the generation, from 1.
        best: The best score; None where no member has one.
        interval: The 95 % interval of the best score; None where it cannot be computed.
        median: The median of the scores; None where no member has one.
        replaced: The replaced members and their parents, such as ``3<-1``, or ``3<-new`` for a fresh start.
    """

    round: str
    generation: int
    best: float | None
    interval: Interval | None
    median: float | None
    replaced: tuple[str, ...]

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return round, generation, best and median score, and replacements in words."""
        return (
            self.round,
            str(self.generation),
            "none" if self.best is None else score_text(self.best, self.interval),
            "none" if self.median is None else f"{self.median:.3f}",
            f"{len(self.replaced)} members" if len(self.replaced) > MOST_NAMED else ", ".join(self.replaced) or "none",
        )

    def line(self) -> str:
        """Return all of it in one line."""
        path, generation, best, median, replaced = self.cells()
        return f"  {path} generation {generation}: best {best}, median {median}, replaced {replaced}"

    def record(self, seconds_left: float | None) -> Json:
        """Return what `status` reads, with the seconds that the run will take at most."""
        return {
            "round": self.round,
            "generation": self.generation,
            "best": self.best,
            "interval": interval_ends(self.interval),
            "seconds_left": seconds_left,
        }


def summarize(manifest: Manifest, fitness: Fitness) -> GenerationSummary:
    """Return the summary of a generation.

    Args:
        manifest: The manifest of the generation.
        fitness: What the round ranks its members by, which says what interval the best score has.
    """
    scores = [record.score for record in manifest.members if record.score is not None]
    return GenerationSummary(
        round=manifest.round,
        generation=manifest.generation + 1,
        best=max(scores, default=None),
        interval=member_interval(manifest, manifest.best, fitness),
        median=statistics.median(scores) if scores else None,
        replaced=tuple(
            f"{entry.member}<-{'new' if entry.parent is None else entry.parent}"
            for entry in manifest.next
            if entry.operation != "continue"
        ),
    )


def last_record(log: str) -> Json | None:
    """Return the last record of progress in what a run has printed, or None where there is none."""
    lines = [line for line in log.splitlines() if line.startswith(RECORD)]
    record: Json | None = json.loads(lines[-1].removeprefix(RECORD)) if lines else None
    return record


def without_records(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a log that people read.

    Args:
        pieces: The log in pieces of any length, which need not end with a line.
    """
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).splitlines(keepends=True) or [""]
        if rest.endswith("\n"):
            lines, rest = [*lines, rest], ""
        yield from (line for line in lines if not line.startswith(RECORD))
    if rest and not rest.startswith(RECORD):
        yield rest


class LiveProgress:
    """Shows a run as it goes: a context manager, and an observer of the run.

    Args:
        passes: The image passes that the run will take at most.
        seconds: The expected duration of the run, which is corrected while it goes.
    """

    def __init__(self, passes: int, seconds: float) -> None:
        self._console = Console()
        self._passes, self._expected = passes, seconds
        self._paid = self._paid_since_start = 0
        self._start: float | None = None
        self._rows: dict[str, list[tuple[str, ...]]] = {}
        self._open: dict[str, RoundStarted] = {}
        self._already_paid: set[str] = set()
        self._live = Live(console=self._console, refresh_per_second=2) if self._console.is_terminal else None
        self._prints_records = PROGRESS_RECORDS in os.environ

    def __enter__(self) -> LiveProgress:
        """Start drawing."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        if self._live:
            self._live.update(self._table())
            self._live.stop()

    def notify(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, RoundStarted):
            if event.path in self._rows:  # it goes on longer, and what it has paid is counted
                self._already_paid.add(event.path)
            self._rows[event.path], self._open[event.path] = [], event
            self._line(
                f"round {event.path}: {event.members} members x {event.replicas} models on {event.num_images:,} images"
            )
        elif isinstance(event, TaskDone):
            if self._start is None:
                self._start = time.monotonic()
            else:
                self._paid_since_start += event.image_passes
            self._paid += event.image_passes
        elif isinstance(event, GenerationCommitted):
            if event.replayed and event.manifest.round not in self._already_paid:
                self._paid += sum(record.image_passes for record in event.manifest.members)
            self._show_generation(event)
        elif isinstance(event, RoundFinished):
            self._open.pop(event.path, None)
            self._line(f"round {event.path} ended: {event.reason.replace('_', ' ')}")
        if self._live:
            self._live.update(self._table())

    def _show_generation(self, event: GenerationCommitted) -> None:
        path, left = event.manifest.round, self._seconds_left()
        fitness = self._open[path].fitness if path in self._open else Fitness()
        summary = summarize(event.manifest, fitness)
        self._rows.setdefault(path, []).append((*summary.cells(), "replayed" if event.replayed else duration(left)))
        self._line(f"{summary.line()}; {'on record' if event.replayed else f'about {duration(left)} left'}")
        if self._prints_records:
            self._line(RECORD + json.dumps(summary.record(None if event.replayed else left)))

    def _seconds_left(self) -> float:
        if self._start is None or self._paid_since_start == 0:
            return self._expected * (1 - min(self._paid / self._passes, 1.0))
        speed = self._paid_since_start / (time.monotonic() - self._start)
        return max(self._passes - self._paid, 0) / speed

    def _line(self, text: str) -> None:
        if self._live is None:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(caption=f"about {duration(self._seconds_left())} left", caption_justify="left")
        for heading in ("round", "generation", "best", "median", "replaced", "left then"):
            table.add_column(heading, justify="left" if heading == "round" else "right")
        ended = [row for path, rows in self._rows.items() if path not in self._open for row in rows]
        share = TABLE_ROWS // max(len(self._open), 1)
        current = {path: self._rows[path][-share:] for path in self._open}
        room = TABLE_ROWS - sum(map(len, current.values()))
        for row in ended[len(ended) - min(room, len(ended)) :]:
            table.add_row(*row)
        for path, rows in current.items():
            table.add_section()
            for row in rows:
                table.add_row(*row)
            done, longest = len(self._rows[path]), self._open[path].max_generations
            if done < longest:
                table.add_row(path, f"{done + 1}/{longest} ...", "", "", "", "")
        return table
