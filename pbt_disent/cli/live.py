"""The live table of a run on a terminal, and plain lines where the output is none."""

from __future__ import annotations

import statistics
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pbt_disent.population.events import Event, GenerationCommitted, RoundFinished, RoundStarted, TaskDone
from pbt_disent.population.fitness import Fitness
from pbt_disent.population.manifest import Manifest
from pbt_disent.population.uncertainty import member_interval, score_text
from pbt_disent.units import duration

__all__ = ["Progress", "describe"]


MOST_NAMED = 4
"""So many replacements are named one by one."""
_LINES = 24
"""So many generations stay in the table: the newest, those of rounds that run side by side apart."""


class Progress:
    """Shows a run as it goes: a context manager and an observer.

    Args:
        passes: image passes that the run will take at most.
        seconds: how long that should take, as measured before; refined while the run goes.
    """

    def __init__(self, passes: int, seconds: float) -> None:
        self._console = Console()
        self._passes, self._expected = passes, seconds
        self._paid = self._new = 0
        self._first: float | None = None
        self._rows: dict[str, list[tuple[str, ...]]] = {}
        self._open: dict[str, RoundStarted] = {}
        self._counted: set[str] = set()
        self._live = Live(console=self._console, refresh_per_second=2) if self._console.is_terminal else None

    def __enter__(self) -> Progress:
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
            if event.path in self._rows:  # it goes on longer; what it has paid is counted
                self._counted.add(event.path)
            self._rows[event.path], self._open[event.path] = [], event
            self._line(
                f"round {event.path}: {event.members} members x {event.replicas} models on {event.num_images:,} images"
            )
        elif isinstance(event, TaskDone):
            if self._first is None:
                self._first = time.monotonic()
            else:
                self._new += event.image_passes
            self._paid += event.image_passes
        elif isinstance(event, GenerationCommitted):
            if event.replayed and event.manifest.round not in self._counted:
                self._paid += sum(record.image_passes for record in event.manifest.members)
            self._generation(event)
        elif isinstance(event, RoundFinished):
            self._open.pop(event.path, None)
            self._line(f"round {event.path} ended: {event.reason.replace('_', ' ')}")
        if self._live:
            self._live.update(self._table())

    def _generation(self, event: GenerationCommitted) -> None:
        manifest, left = event.manifest, duration(self._left())
        round_started = self._open.get(manifest.round)
        cells = describe(manifest, Fitness() if round_started is None else round_started.fitness)
        path, generation, best, median, replaced = cells
        self._rows.setdefault(path, []).append((*cells, "replayed" if event.replayed else left))
        note = "on record" if event.replayed else f"about {left} left"
        self._line(f"  {path} generation {generation}: best {best}, median {median}, replaced {replaced}; {note}")

    def _left(self) -> float:
        if self._first is None or self._new == 0:
            return self._expected * (1 - min(self._paid / self._passes, 1.0))
        speed = self._new / (time.monotonic() - self._first)
        return max(self._passes - self._paid, 0) / speed

    def _line(self, text: str) -> None:
        if self._live is None:
            self._console.print(text, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(caption=f"about {duration(self._left())} left", caption_justify="left")
        for heading in ("round", "generation", "best", "median", "replaced", "left then"):
            table.add_column(heading, justify="left" if heading == "round" else "right")
        ended = [row for path, rows in self._rows.items() if path not in self._open for row in rows]
        share = _LINES // max(len(self._open), 1)
        current = {path: self._rows[path][-share:] for path in self._open}
        room = _LINES - sum(map(len, current.values()))
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


def describe(manifest: Manifest, fitness: Fitness) -> tuple[str, str, str, str, str]:
    """Return round, generation (from 1), best and median score and replacements of a generation, in words.

    Args:
        manifest: The generation.
        fitness: What its round ranks by, which says what interval the best score has.
    """
    scores = [record.score for record in manifest.members if record.score is not None]
    replaced = [
        f"{entry.member}<-{'new' if entry.parent is None else entry.parent}"
        for entry in manifest.next
        if entry.operation != "continue"
    ]
    return (
        manifest.round,
        str(manifest.generation + 1),
        score_text(max(scores), member_interval(manifest, manifest.best, fitness)) if scores else "none",
        f"{statistics.median(scores):.3f}" if scores else "none",
        f"{len(replaced)} members" if len(replaced) > MOST_NAMED else ", ".join(replaced) or "none",
    )
