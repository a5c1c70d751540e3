"""What `watch` knows of a run: its folder, read again and again while a driver works on it, each manifest once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from pbt_disent.config import Config
from pbt_disent.files import read_json_lines
from pbt_disent.population.clock import Spent, read_clock, spent
from pbt_disent.population.fitness import Fitness, load_fitness
from pbt_disent.population.manifest import Manifest
from pbt_disent.rounds.budget import run_cost
from pbt_disent.store.run_folder import RunFolder

__all__ = ["Snapshot", "State", "WatchedFolder"]

State = Literal["starting", "running", "stopped", "finished"]
_FETCH_SECONDS = 5.0
_STARTING_SECONDS = 600.0
"""A run that no driver holds yet is starting for so long: images are read, and a plan is measured."""


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment.

    Args:
        state: whether a driver is at work.
        rounds: the generations of each round, by path, in the order in which the rounds began.
        ended: why a round ended, by path.
        num_images: The number of images that a round trains on, by path.
        fitness: what a round ranks by, by path.
        spent: time and passes so far.
        left: seconds that are left at most, as far as that can be told.
    """

    state: State
    rounds: dict[str, list[Manifest]]
    ended: dict[str, str]
    num_images: dict[str, int]
    fitness: dict[str, Fitness]
    spent: Spent
    left: float | None

    @property
    def current(self) -> list[str]:
        """Paths of the rounds that are under way, or of the one that began last."""
        under_way = [path for path in self.rounds if path in self.spent.under_way]
        return under_way or list(self.rounds)[-1:]


class WatchedFolder:
    """Reads a run folder as it grows.

    Args:
        run: the folder.
        service: whether somebody is there who starts the run again when its driver dies; nobody by default.
        resume: the command that goes on with the run when it was stopped.
    """

    def __init__(self, run: RunFolder, service: Callable[[], bool] = lambda: False, resume: str | None = None) -> None:
        self.run = run
        self.resume = resume or f"pbt-disent resume {run.path}"
        self._service = service
        self.config: Config = run.config()
        self._manifests: dict[str, list[Manifest]] = {}
        self._identities: dict[str, str] = {}
        self._fetched = time.monotonic()

    def look(self) -> Snapshot:
        """Return what the folder says now; of a run in an object store, what that said some seconds ago at most."""
        if time.monotonic() - self._fetched > _FETCH_SECONDS:
            with contextlib.suppress(FileNotFoundError):  # the driver deletes, too
                self.run.refresh()
            self._fetched = time.monotonic()
        state = self._served(self._state())  # before the rest is read: behind the end nothing is added
        rows = read_json_lines(self.run.path / "rounds.jsonl")
        started = {row["path"]: row for row in rows if row.get("event") == "started"}
        for path, row in started.items():
            if self._identities.get(path) != row.get("identity"):  # the round was begun anew, on other inputs
                self._manifests[path], self._identities[path] = [], str(row.get("identity"))
            self._read_on(path)
        time_spent = spent(read_clock(self.run.path))
        finished = {row["path"]: row for row in rows if row.get("event") == "finished"}
        ended = {
            path: str(row.get("reason", ""))
            for path, row in finished.items()
            if row.get("generations") == len(self._manifests.get(path, []))
        }
        return Snapshot(
            state=state,
            rounds={path: list(self._manifests[path]) for path in started},
            ended=ended,
            num_images={path: int(row.get("num_images", 0)) for path, row in started.items()},
            fitness={path: load_fitness(row.get("fitness", {})) for path, row in started.items()},
            spent=time_spent,
            left=self._left(time_spent),
        )

    def _served(self, state: State) -> State:
        return "starting" if state == "stopped" and self._service() else state

    def generations(self, path: str) -> int:
        """Return how many generations a round has at most."""
        if path == "final":
            return self.config.final.generations
        longest = self.config.population.max_generations
        return longest if path == "0" else self.config.rounds.leaf_max_generations or longest

    def _read_on(self, path: str) -> None:
        known = self._manifests[path]
        while (file := self.run.path / "rounds" / path / f"generation-{len(known):04d}.json").exists():
            try:
                manifest = Manifest.from_bytes(file.read_bytes())
            except (ValidationError, FileNotFoundError):
                return
            if manifest.identity != self._identities[path]:
                return
            known.append(manifest)

    def _state(self) -> State:
        if self.run.is_held:
            return "running"
        if self.run.scores.exists():
            return "finished"
        young = time.time() - (self.run.path / "run.json").stat().st_mtime < _STARTING_SECONDS
        return "starting" if young and not self.run.was_held else "stopped"

    def _left(self, so_far: Spent) -> float | None:
        paid = sum(one.image_passes for one in so_far.rounds.values()) + so_far.paid + so_far.lost_image_passes
        if not paid or not so_far.within:
            return None
        done = sum(manifests[-1].image_passes for manifests in self._manifests.values() if manifests) + so_far.paid
        return max(run_cost(self.config).image_passes - done, 0) * so_far.within / paid
