"""A run at one moment: its folder, read again and again while a driver works on it, and each manifest once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from pbt_disent.config import Config
from pbt_disent.files import read_json_lines
from pbt_disent.population.clock import RunUsage, read_clock, run_usage
from pbt_disent.population.fitness import Fitness, load_fitness
from pbt_disent.population.manifest import Manifest
from pbt_disent.rounds.budget import run_cost
from pbt_disent.store.run_folder import RunFolder

__all__ = ["Snapshot", "State", "WatchedFolder"]

State = Literal["starting", "running", "stopped", "finished"]
REFRESH_SECONDS = 5.0
"""How old what is known of a run in an object store may be."""
STARTING_SECONDS = 600.0
"""How long a run that no driver has held yet is taken to be starting: images are read, and a plan is measured."""


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment.

    Args:
        state: Whether a driver is at work.
        rounds: The manifests of each round by its path, in the order in which the rounds began.
        ended: The reason for which a round ended, by path.
        num_images: The number of images that a round trains on, by path.
        fitness: What a round ranks its members by, by path.
        usage: The time and the image passes so far.
        seconds_left: The time that the run will take at most; None where it is unknown.
    """

    state: State
    rounds: dict[str, list[Manifest]]
    ended: dict[str, str]
    num_images: dict[str, int]
    fitness: dict[str, Fitness]
    usage: RunUsage
    seconds_left: float | None

    @property
    def current(self) -> list[str]:
        """The paths of the rounds that are under way, or of the one that began last."""
        under_way = [path for path in self.rounds if path in self.usage.current]
        return under_way or list(self.rounds)[-1:]


class WatchedFolder:
    """Reads a run folder as it grows.

    Args:
        run: The folder of the run.
        is_supervised: Whether a supervisor is there that starts the run again when its driver dies.
        resume: The command that goes on with the run if it was stopped.
    """

    def __init__(
        self, run: RunFolder, is_supervised: Callable[[], bool] = lambda: False, resume: str | None = None
    ) -> None:
        self.run = run
        self.resume = resume or f"pbt-disent resume {run.path}"
        self._is_supervised = is_supervised
        self.config: Config = run.config()
        self._manifests: dict[str, list[Manifest]] = {}
        self._identities: dict[str, str] = {}
        self._refreshed = time.monotonic()

    def read(self) -> Snapshot:
        """Return what the folder holds now; of a run in an object store, what that held some seconds ago at most."""
        if time.monotonic() - self._refreshed > REFRESH_SECONDS:
            with contextlib.suppress(FileNotFoundError):  # the driver deletes, too
                self.run.refresh()
            self._refreshed = time.monotonic()
        state = self._state()  # before the rest is read: after the end nothing is added
        rows = read_json_lines(self.run.path / "rounds.jsonl")
        started = {row["path"]: row for row in rows if row.get("event") == "started"}
        for path, row in started.items():
            if self._identities.get(path) != row.get("identity"):  # the round was begun anew, on other inputs
                self._manifests[path], self._identities[path] = [], str(row.get("identity"))
            self._read_manifests(path)
        usage = run_usage(read_clock(self.run.path))
        finished = {row["path"]: row for row in rows if row.get("event") == "finished"}
        return Snapshot(
            state=state,
            rounds={path: list(self._manifests[path]) for path in started},
            ended={
                path: str(row.get("reason", ""))
                for path, row in finished.items()
                if row.get("generations") == len(self._manifests.get(path, []))
            },
            num_images={path: int(row.get("num_images", 0)) for path, row in started.items()},
            fitness={path: load_fitness(row.get("fitness", {})) for path, row in started.items()},
            usage=usage,
            seconds_left=self._seconds_left(usage),
        )

    def max_generations(self, path: str) -> int:
        """Return the number of generations that a round has at most."""
        if path == "final":
            return self.config.final.generations
        longest = self.config.population.max_generations
        return longest if path == "0" else self.config.rounds.leaf_max_generations or longest

    def _read_manifests(self, path: str) -> None:
        """Read the manifests of a round that were committed since it was read last."""
        manifests = self._manifests[path]
        while (file := self.run.path / "rounds" / path / f"generation-{len(manifests):04d}.json").exists():
            try:
                manifest = Manifest.from_bytes(file.read_bytes())
            except (ValidationError, FileNotFoundError):
                return
            if manifest.identity != self._identities[path]:
                return
            manifests.append(manifest)

    def _state(self) -> State:
        if self.run.is_held:
            return "running"
        if self.run.scores.exists():
            return "finished"
        age = time.time() - (self.run.path / "run.json").stat().st_mtime
        if (age < STARTING_SECONDS and not self.run.was_held) or self._is_supervised():
            return "starting"
        return "stopped"

    def _seconds_left(self, usage: RunUsage) -> float | None:
        current = usage.current_image_passes
        paid = sum(part.image_passes for part in usage.rounds.values()) + current + usage.lost_image_passes
        if not paid or not usage.active_seconds:
            return None
        done = sum(manifests[-1].image_passes for manifests in self._manifests.values() if manifests) + current
        return max(run_cost(self.config).image_passes - done, 0) * usage.active_seconds / paid
