"""The one writer to MLflow: an observer that notes what happens and leaves the sending to a thread of its own.

The thread that drives the run only appends a line to a file. Whatever becomes of MLflow, training goes on: the spool
keeps what was not sent, for later in this process, for the next one, or for `pbt-disent sync`.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pbt_disent.population.events import Event, GenerationCommitted, RoundFinished, RoundStarted
from pbt_disent.population.manifest import Manifest
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.tracking import pace
from pbt_disent.tracking.delivery import Backlog, Courier, one_line
from pbt_disent.tracking.describe import Picture
from pbt_disent.tracking.destination import resolve
from pbt_disent.tracking.load import SystemLoad
from pbt_disent.tracking.records import (
    closed_record,
    files_record,
    finished_record,
    generation_record,
    model_record,
    moving_names,
    run_record,
    trace,
)
from pbt_disent.tracking.spool import Spool
from pbt_disent.types import Json

__all__ = ["ARTIFACTS", "MlflowWriter"]

ARTIFACTS = {
    "report.html": "",
    "figures": "figures",
    "labels": "labels",
    "scores.json": "",
    "lineage.jsonl": "",
    "rounds.jsonl": "",
    "config.yaml": "",
}
"""What a finished run leaves in MLflow: its place in the run folder, and the folder among the artifacts."""

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE, _LAST_PAUSE = 1.0, 60.0, 0.5
_PATIENCE, _HURRY = 60.0, 2.0


class MlflowWriter:
    """Records a run in MLflow (design: one writer, batched, a spool on disk first).

    Args:
        run_folder: of the run (with its ``run.json`` and config); holds the spool and, by default, the store.
        uri: the store; none for the one in ``MLFLOW_TRACKING_URI``, or else SQLite in the run folder.
        run_name: for people.
        dataset: name of the data set; its runs share an experiment.
        picture: draws the population of a round for its note (PNG).
        system_metrics: whether to record how busy this machine is.

    Raises:
        UserError: the URI is none that can be used.
    """

    def __init__(
        self,
        run_folder: Path,
        uri: str | None,
        run_name: str,
        dataset: str,
        *,
        picture: Picture | None = None,
        system_metrics: bool = False,
    ) -> None:
        destination = resolve(run_folder, uri)
        self.description = destination.description
        self._folder = RunFolder(run_folder)
        self._threshold = self._folder.config().rounds.information_threshold
        self._spool = Spool(run_folder)
        self._courier = Courier(run_folder, self._spool, destination, picture)
        self._load = SystemLoad() if system_metrics else None
        naming = {"name": run_name, "experiment": f"pbt-disent/{dataset}", "store": destination.label}
        tags, data = _round_tags(self._folder), self._folder.description().get("data")
        self._spool.append(run_record(_now(), uuid.uuid4().hex, **naming, tags=tags, data=data))
        self._started: dict[str, RoundStarted] = {}
        self._last: dict[str, Manifest] = {}
        self._origins: dict[str, dict[int, str]] = {}
        self._moving: dict[str, set[str]] = {}
        self._finished: set[str] = set()
        self._failure: str | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def notify(self, event: Event) -> None:
        """Note a round, a generation or an end; returns at once. A generation noted before is not noted again."""
        match event:
            case RoundStarted():
                self._started[event.path] = event
                self._finished.discard(event.path)
            case GenerationCommitted():
                self._note_generation(event.manifest, replayed=event.replayed)
            case RoundFinished() if event.path in self._last:
                self._finished.add(event.path)
                started = self._started.get(event.path)
                fitness = "score" if started is None else started.fitness
                self._append(finished_record(_now(), self._last[event.path], event.reason, event.summary, fitness))

    def finish(self, artifacts: Mapping[str, str] | None = None, path: str | None = None) -> None:
        """Note files to be kept beside a round, and the run's model if it has one.

        Args:
            artifacts: file or folder in the run folder (relative) → the folder it goes to in MLflow, or ``""``. By
                default what a finished run holds: report, figures, labels, scores, lineage and config.
            path: of the round; by default the last one.
        """
        chosen = path if path is not None else next(reversed(self._last), None)
        if chosen in self._last:
            wanted = ARTIFACTS if artifacts is None else artifacts
            files = [(name, target) for name, target in wanted.items() if (self._folder.path / name).exists()]
            last = self._last[chosen]
            self._append(files_record(_now(), chosen, last.identity, files))
            if self._folder.model.exists():
                self._append(model_record(_now(), chosen, last.identity, last.generation))

    def backlog(self) -> Backlog:
        """Say how far MLflow is behind."""
        return self._courier.backlog(self._failure)

    def close(self, timeout: float) -> Backlog:
        """Mark unfinished rounds as stopped, send what can be sent in `timeout` seconds, and say what is left.

        What is left is in the spool, for `resume` or `sync`.
        """
        for path, manifest in self._last.items():
            if path not in self._finished:
                self._append(closed_record(_now(), path, manifest.identity))
        if self._load is not None:
            self._load.stop()
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        return self.backlog()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close: patiently behind a run that ended, in a hurry behind one that was stopped."""
        left = self.close(_PATIENCE if kind is None else _HURRY)
        if left.records:
            reason = f" ({left.failure})" if left.failure else ""
            records = "1 record" if left.records == 1 else f"{left.records} records"
            _LOG.warning("MLflow lacks %s%s; send what is missing with: pbt-disent sync", records, reason)

    def _note_generation(self, manifest: Manifest, *, replayed: bool) -> None:
        path = manifest.round
        before = self._origins.get(path, {}) if manifest.generation else {}
        self._origins[path] = trace(before, manifest)
        self._last.pop(path, None)
        self._last[path] = manifest
        started = self._started.get(path)
        load = {} if self._load is None or replayed else self._load.take()
        self._moving[path] = moving_names(manifest, self._moving.get(path, set()) if manifest.generation else set())
        self._append(
            generation_record(
                _now(),
                manifest,
                started,
                self._origins[path],
                self._threshold,
                load=load,
                moving=self._moving[path],
            )
        )

    def _append(self, record: Json) -> None:
        """Put a record on disk; where that fails the run has worse troubles, and meets them in its own writes."""
        try:
            self._spool.append(record)
        except OSError as error:
            self._failure = one_line(error)
            _LOG.warning("a record for MLflow was lost: %s", self._failure)
        self._wake.set()

    def _work(self) -> None:
        """Send what there is, then rest; after a failure wait, longer each time, but never beyond the deadline."""
        pause, first = _FIRST_PAUSE, True
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing.is_set()
            begun = time.monotonic()
            if self._attempt():
                pause = _FIRST_PAUSE
                if closing:
                    return
                if not first:  # the first delivery imports MLflow and makes the runs
                    self._closing.wait(pace.rest(time.monotonic() - begun))
                first = False
                continue
            if closing:
                if not self._in_time():
                    return
                time.sleep(_LAST_PAUSE)
            else:
                self._closing.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            self._wake.set()

    def _attempt(self) -> bool:
        try:
            self._courier.deliver(self._in_time)
        except Exception as error:  # nothing that MLflow, its database or the network raises may reach the run
            if self._failure is None:
                _LOG.warning("MLflow is behind, training goes on: %s", one_line(error))
            self._failure = one_line(error)
            return False
        self._failure = None
        return True

    def _in_time(self) -> bool:
        return self._deadline is None or time.monotonic() < self._deadline


def _now() -> int:
    return time.time_ns() // 1_000_000


def _round_tags(folder: RunFolder) -> dict[str, str]:
    config, description = folder.config(), folder.description()
    data = description.get("data") or {}
    return {
        "method": config.method,
        "objective": ", ".join(one.name for one in config.objectives),
        "seed": str(config.seed),
        "preset": str(description.get("preset", "none")),
        "config_digest": config.digest,
        "data_digest": str(data.get("fingerprint", "unknown")),
    }
