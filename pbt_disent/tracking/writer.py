"""The one writer to MLflow: an observer that notes what happens and leaves the sending to a thread of its own.

The thread that drives the run only appends a line to a file. Whatever becomes of MLflow, training goes on: the spool
keeps what was not sent, for later in this process, for the next one, or for `pbt-disent sync`.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from pbt_disent.population.events import Event, GenerationCommitted, RoundFinished, RoundStarted
from pbt_disent.population.manifest import Manifest
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.tracking import uploader
from pbt_disent.tracking.records import (
    files_record,
    finished_record,
    generation_record,
    model_record,
    run_record,
    stopped_record,
    trace_origins,
    varying_hyperparameters,
)
from pbt_disent.tracking.round_page import DrawPopulation
from pbt_disent.tracking.spool import Spool
from pbt_disent.tracking.system_metrics import SystemMetrics
from pbt_disent.tracking.tracking_store import resolve_store
from pbt_disent.tracking.uploader import Pending, Uploader, one_line
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
_FIRST_RETRY_SECONDS, _MAX_RETRY_SECONDS, _CLOSING_RETRY_SECONDS = 1.0, 60.0, 0.5
_CLOSE_SECONDS, _ABORT_SECONDS = 60.0, 2.0
"""How long closing may take after a run that ended, and after one that was stopped."""


class MlflowWriter:
    """Records a run in MLflow: a single writer, in batches, through a spool on disk.

    Args:
        run_folder: The folder of the run, with its ``run.json`` and config. Holds the spool and, by default, the store.
        uri: The URI of the store. None means the one in ``MLFLOW_TRACKING_URI``, or else SQLite in the run folder.
        run_name: The name of the run, for people.
        dataset: The name of the data set; its runs share an experiment.
        draw_population: Draws the population of a round as a PNG for the round's page; None for no figure.
        system_metrics: Whether to record how busy this machine is.

    Raises:
        UserError: The URI is not supported.
    """

    def __init__(
        self,
        run_folder: Path,
        uri: str | None,
        run_name: str,
        dataset: str,
        *,
        draw_population: DrawPopulation | None = None,
        system_metrics: bool = False,
    ) -> None:
        store = resolve_store(run_folder, uri)
        self.description = store.description
        self._folder = RunFolder(run_folder)
        self._threshold = self._folder.config().rounds.information_threshold
        self._spool = Spool(run_folder)
        self._uploader = Uploader(run_folder, self._spool, store, draw_population)
        self._system_metrics = SystemMetrics() if system_metrics else None
        naming = {"name": run_name, "experiment": f"pbt-disent/{dataset}", "store": store.label}
        tags, data = _round_tags(self._folder), self._folder.description().get("data")
        self._spool.append(run_record(_now(), uuid.uuid4().hex, **naming, tags=tags, data=data))
        self._started: dict[str, RoundStarted] = {}
        self._last: dict[str, Manifest] = {}
        self._origins: dict[str, dict[int, str]] = {}
        self._varying: dict[str, set[str]] = {}
        self._finished: set[str] = set()
        self._failure: str | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._upload_until_closed, name="mlflow-writer", daemon=True)
        self._thread.start()

    def notify(self, event: Event) -> None:
        """Record a round, a generation or an end; returns at once. What is on record already is not recorded again."""
        match event:
            case RoundStarted():
                self._started[event.path] = event
                self._finished.discard(event.path)
            case GenerationCommitted():
                self._record_generation(event.manifest, replayed=event.replayed)
            case RoundFinished() if event.path in self._last:
                self._finished.add(event.path)
                started = self._started.get(event.path)
                fitness = "score" if started is None else started.fitness.name
                self._append(finished_record(_now(), self._last[event.path], event.reason, fitness))

    def finish(self) -> None:
        """Record the files of a finished run beside its last round, and the run's model if it has one."""
        path = next(reversed(self._last), None)
        if path is not None:
            files = [(name, target) for name, target in ARTIFACTS.items() if (self._folder.path / name).exists()]
            last = self._last[path]
            self._append(files_record(_now(), path, last.identity, files))
            if self._folder.model.exists():
                self._append(model_record(_now(), path, last.identity, last.generation))

    def pending(self) -> Pending:
        """Return how far MLflow is behind."""
        return self._uploader.pending(self._failure)

    def close(self, timeout: float) -> Pending:
        """Mark unfinished rounds as stopped, and send what can be sent in time.

        Args:
            timeout: The most seconds that this may take.

        Returns:
            What is left; it stays in the spool, for `resume` or `sync`.
        """
        for path, manifest in self._last.items():
            if path not in self._finished:
                self._append(stopped_record(_now(), path, manifest.identity))
        if self._system_metrics is not None:
            self._system_metrics.stop()
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        return self.pending()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close: patiently after a run that ended, quickly after one that was stopped."""
        pending = self.close(_CLOSE_SECONDS if kind is None else _ABORT_SECONDS)
        if pending.records:
            reason = f" ({pending.failure})" if pending.failure else ""
            records = "1 record" if pending.records == 1 else f"{pending.records} records"
            _LOG.warning("MLflow lacks %s%s; send what is missing with: pbt-disent sync", records, reason)

    def _record_generation(self, manifest: Manifest, *, replayed: bool) -> None:
        path = manifest.round
        origins = self._origins.get(path, {}) if manifest.generation else {}
        varying = self._varying.get(path, set()) if manifest.generation else set()
        self._origins[path] = trace_origins(origins, manifest)
        self._varying[path] = varying_hyperparameters(manifest, varying)
        self._last.pop(path, None)
        self._last[path] = manifest
        system_metrics = {} if self._system_metrics is None or replayed else self._system_metrics.pop_means()
        self._append(
            generation_record(
                _now(),
                manifest,
                self._started.get(path),
                self._origins[path],
                self._threshold,
                system_metrics=system_metrics,
                varying=self._varying[path],
            )
        )

    def _append(self, record: Json) -> None:
        """Put a record on disk. A failure is only logged: a full disk fails the run's own writes, too."""
        try:
            self._spool.append(record)
        except OSError as error:
            self._failure = one_line(error)
            _LOG.warning("a record for MLflow was lost: %s", self._failure)
        self._wake.set()

    def _upload_until_closed(self) -> None:
        """Upload what is pending, throttled; after a failure wait, longer each time, but never beyond the deadline."""
        retry_seconds, first = _FIRST_RETRY_SECONDS, True
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing.is_set()
            start = time.monotonic()
            if self._try_upload():
                retry_seconds = _FIRST_RETRY_SECONDS
                if closing:
                    return
                if not first:  # the first upload imports MLflow and makes the runs
                    self._closing.wait(uploader.throttle_seconds(time.monotonic() - start))
                first = False
                continue
            if closing:
                if not self._in_time():
                    return
                time.sleep(_CLOSING_RETRY_SECONDS)
            else:
                self._closing.wait(retry_seconds)
                retry_seconds = min(2 * retry_seconds, _MAX_RETRY_SECONDS)
            self._wake.set()

    def _try_upload(self) -> bool:
        try:
            self._uploader.upload(self._in_time)
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
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _round_tags(folder: RunFolder) -> dict[str, str]:
    config, description = folder.config(), folder.description()
    data = description.get("data") or {}
    return {
        "method": config.method,
        "objective": ", ".join(objective.name for objective in config.objectives),
        "seed": str(config.seed),
        "preset": str(description.get("preset", "none")),
        "config_digest": config.digest,
        "data_digest": str(data.get("fingerprint", "unknown")),
    }
