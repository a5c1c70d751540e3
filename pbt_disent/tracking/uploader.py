"""Bring what is in the spool to its store: what the writer does while a run lasts, and `sync` at any time.

A call for each member costs more than the numbers in it. MLflow takes the metrics of one run in a call, whatever their
steps, so two generations that are sent together cost little more than one: uploads are throttled, and the next one
takes all that has gathered.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pbt_disent.config import load_config
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.tracking.round_page import DrawPopulation
from pbt_disent.tracking.spool import Spool, SpoolBusy, SpooledRecord
from pbt_disent.tracking.tracking_store import TRACKING_URI, TrackingStore, resolve_store, set_mlflow_defaults
from pbt_disent.types import Json

__all__ = ["MAX_THROTTLE_SECONDS", "Pending", "Uploader", "batches", "one_line", "sync", "throttle_seconds"]

BUSY_SHARE = 0.01
"""The share of the time that uploads may take, until that would need a pause longer than `MAX_THROTTLE_SECONDS`."""
MAX_THROTTLE_SECONDS = 60.0
"""How long MLflow may be behind for no other reason than that uploads are throttled."""
_MAX_BATCH_METRICS = 100_000
"""The most metrics that are held in memory to be sent together, unless one generation has more."""

_EXPLANATIONS = (
    (
        r"error code 401|Authentication token not provided|You are not authenticated",
        "it asks for another user or password (401); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    (r"error code 403|PERMISSION_DENIED", "it does not let this user write (403); ask for the permission"),
    (r"Max retries exceeded|Connection refused|timed out|Connection aborted", "it does not answer; check the server"),
    (
        r"readonly database|unable to open database file|Read-only file system|Permission denied",
        "it cannot be written; check its permissions",
    ),
    (r"disk is full|No space left", "there is no room left for it; make some"),
    (r"No module named 'psycopg", "its driver is missing: pip install 'pbt-disent[postgres]'"),
    (r"No module named '(MySQLdb|pymysql|pyodbc)", "its database driver is missing; install one, or use PostgreSQL"),
)
"""Patterns of what MLflow, its database or the network say in usual trouble, and what it means."""


@dataclass(frozen=True)
class Pending:
    """What a store does not have yet.

    Args:
        records: The number of records of the spool that it lacks.
        failure: Why the last upload failed, in one line, or None if it did not.
    """

    records: int
    failure: str | None = None


class Uploader:
    """Sends the records of one spool to one store.

    Args:
        run_folder: The folder of the run.
        spool: The spool of the run.
        store: The store.
        draw_population: Draws the population of a round for the round's page; None for no figure.
    """

    def __init__(
        self, run_folder: Path, spool: Spool, store: TrackingStore, draw_population: DrawPopulation | None = None
    ) -> None:
        self._run_folder = run_folder
        self._spool = spool
        self._store = store
        self._draw_population = draw_population
        self._log_records: Callable[[Sequence[Json]], None] | None = None

    def upload(self, should_continue: Callable[[], bool] = lambda: True) -> None:
        """Send and acknowledge what is pending. The first call imports MLflow.

        Args:
            should_continue: Asked before each batch; the upload ends where it returns False.

        Raises:
            SpoolBusy: Another process is uploading.
            Exception: Whatever MLflow, its database or the network raises.
        """
        label = self._store.label
        with self._spool.sending():
            for batch in batches(self._spool.records(self._spool.acknowledged(label))):
                if not should_continue():
                    return
                self._client()([record.content for record in batch])
                self._spool.acknowledge(label, batch[-1].end)

    def pending(self, failure: str | None = None) -> Pending:
        """Count what is pending.

        Args:
            failure: Why the last upload failed, if it did.
        """
        return Pending(self._spool.count_pending(self._store.label), failure)

    def _client(self) -> Callable[[Sequence[Json]], None]:
        if self._log_records is None:
            set_mlflow_defaults(os.environ)
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)  # what it says comes back as an error
            from pbt_disent.tracking.client import TrackingClient

            run = self._spool.first or {}
            self._log_records = TrackingClient(self._store, self._run_folder, run, self._draw_population).log
        return self._log_records


def sync(run_folder: Path, uri: str | None = None, draw_population: DrawPopulation | None = None) -> TrackingStore:
    """Send what MLflow does not have of a run yet; another store than the run's own gets all of it.

    Args:
        run_folder: The folder of the run, which may go on meanwhile.
        uri: The URI of the store; by default the one that the run is recorded in.
        draw_population: Draws the population of a round for the round's page; None for no figure.

    Returns:
        The store, which now has everything.

    Raises:
        UserError: The folder is no run that was recorded, or its store cannot be told from what is known here.
        PbtDisentError: The store did not take everything.
    """
    spool = Spool(run_folder)
    run = spool.first
    if run is None:
        raise UserError(f"run {run_folder}", "has no record for MLflow (spool.jsonl)", "give a run that was tracked")
    config = run_folder / "config.yaml"
    configured = load_config(config).tracking.uri if uri is None and config.exists() else uri
    store = resolve_store(run_folder, configured)
    if uri is None and store.label != run["store"]:
        if "***" in run["store"]:
            remedy = f"set {TRACKING_URI} to it, with its password"
            raise UserError(f"run {run_folder}", f"is recorded at {run['store']}", remedy)
        store = resolve_store(run_folder, None if run["store"] == "embedded" else run["store"], {})
    try:
        Uploader(run_folder, spool, store, draw_population).upload()
    except SpoolBusy:
        raise UserError(f"run {run_folder}", "is being sent by another process", "wait for it to end") from None
    except Exception as error:  # whatever MLflow, its database or the network raises becomes one line
        pending = spool.count_pending(store.label)
        raise PbtDisentError(f"{store.description} lacks {pending} records: {one_line(error)}") from error
    return store


def one_line(error: BaseException) -> str:
    """Return an error as one line of at most 300 characters, in plain words where it is one of the usual ones.

    Example:
        >>> one_line(OSError("HTTPConnectionPool: Max retries exceeded with url /api"))
        'it does not answer; check the server'
    """
    text = " ".join(str(error).split())
    explanation = next((words for pattern, words in _EXPLANATIONS if re.search(pattern, text)), None)
    return (explanation or f"{type(error).__name__}: {text}")[:300]


def throttle_seconds(upload_seconds: float) -> float:
    """Return how many seconds to wait after an upload that took `upload_seconds`.

    Example:
        >>> throttle_seconds(0.25)
        25.0
    """
    return min(upload_seconds / BUSY_SHARE, MAX_THROTTLE_SECONDS)


def batches(records: Iterable[SpooledRecord]) -> Iterator[Sequence[SpooledRecord]]:
    """Group records that can be sent together.

    Args:
        records: The records of a spool, in order.

    Yields:
        Generations of one round that follow each other, or one record of another kind.
    """
    batch: list[SpooledRecord] = []
    num_metrics = 0
    for record in records:
        size = sum(len(member["metrics"]) for member in record.content.get("members", ()))
        if batch and (not _same_round(batch[-1].content, record.content) or num_metrics + size > _MAX_BATCH_METRICS):
            yield batch
            batch, num_metrics = [], 0
        batch.append(record)
        num_metrics += size
    if batch:
        yield batch


def _same_round(first: Json, second: Json) -> bool:
    """Return whether both records are generations of one round."""
    if first["kind"] != "generation" or second["kind"] != "generation":
        return False
    return bool((first["path"], first["identity"]) == (second["path"], second["identity"]))
