"""Bring what is in the spool to its store, now and in order; the part that the writer and `sync` share."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pbt_disent.config import load_config
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.tracking.describe import Picture
from pbt_disent.tracking.destination import ENVIRONMENT, Destination, resolve
from pbt_disent.tracking.environment import apply_defaults
from pbt_disent.tracking.pace import grouped
from pbt_disent.tracking.spool import Spool, SpoolBusy
from pbt_disent.types import Json

__all__ = ["Backlog", "Courier", "sync"]


_USUAL = (
    (
        r"error code 401|Authentication token not provided|You are not authenticated",
        "it asks for another user or password (401); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    (r"error code 403|PERMISSION_DENIED", "it does not let this user write (403); ask for the permission"),
    (r"Max retries exceeded|Connection refused|timed out|Connection aborted", "it does not answer; see to the server"),
    (
        r"readonly database|unable to open database file|Read-only file system|Permission denied",
        "it cannot be written; check its permissions",
    ),
    (r"disk is full|No space left", "there is no room left for it; make some"),
    (r"No module named 'psycopg", "its driver is missing: pip install 'pbt-disent[postgres]'"),
    (r"No module named '(MySQLdb|pymysql|pyodbc)", "its database driver is missing; install one, or use PostgreSQL"),
)
"""What MLflow, its database or the network say when something usual is wrong, and what people are told."""


@dataclass(frozen=True)
class Backlog:
    """What a store does not have yet.

    Args:
        records: how many records of the spool.
        failure: why the last attempt to send failed, in one line; none if it did not.
    """

    records: int
    failure: str | None = None


class Courier:
    """Carries the records of one spool to one store.

    Args:
        run_folder: of the run.
        spool: its spool.
        destination: the store.
        picture: draws the population of a round for its note.
    """

    def __init__(
        self, run_folder: Path, spool: Spool, destination: Destination, picture: Picture | None = None
    ) -> None:
        self._folder = run_folder
        self._spool = spool
        self._destination = destination
        self._picture = picture
        self._send: Callable[[Sequence[Json]], None] | None = None

    def deliver(self, go_on: Callable[[], bool]) -> None:
        """Send and acknowledge what is waiting, as long as `go_on` says so. The first call imports MLflow.

        Raises:
            SpoolBusy: another process is at it.
            Exception: whatever MLflow, its database or the network raises.
        """
        store = self._destination.label
        with self._spool.sending():
            for group in grouped(self._spool.records(self._spool.acknowledged(store))):
                if not go_on():
                    return
                self._sender()([record.content for record in group])
                self._spool.acknowledge(store, group[-1].end)

    def backlog(self, failure: str | None = None) -> Backlog:
        """Count what is waiting."""
        return Backlog(self._spool.behind(self._destination.label), failure)

    def _sender(self) -> Callable[[Sequence[Json]], None]:
        if self._send is None:
            apply_defaults(os.environ)
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)  # what it says comes back as an error
            from pbt_disent.tracking.sender import Sender

            self._send = Sender(self._destination, self._folder, self._spool.first or {}, self._picture).send
        return self._send


def one_line(error: BaseException) -> str:
    """Return an error as one line of at most 300 characters, in plain words where it is one of the usual ones."""
    text = " ".join(str(error).split())
    known = next((words for pattern, words in _USUAL if re.search(pattern, text)), None)
    return (known or f"{type(error).__name__}: {text}")[:300]


def sync(run_folder: Path, uri: str | None = None, picture: Picture | None = None) -> Destination:
    """Send what MLflow does not have of a run yet; another store than the run's own gets all of it.

    Args:
        run_folder: of the run, which may go on meanwhile.
        uri: the store; by default the one that the run is recorded in.
        picture: draws the population of a round for its note.

    Returns:
        The store, which now has everything.

    Raises:
        UserError: the folder is no run that was recorded, or its store cannot be told from what is known here.
        PbtDisentError: the store did not take everything.
    """
    spool = Spool(run_folder)
    first = spool.first
    if first is None:
        raise UserError(f"run {run_folder}", "has no record for MLflow (spool.jsonl)", "give a run that was tracked")
    config = run_folder / "config.yaml"
    named = load_config(config).tracking.uri if uri is None and config.exists() else uri
    destination = resolve(run_folder, named)
    if uri is None and destination.label != first["store"]:
        if first["store"] != "embedded" and "***" in first["store"]:
            remedy = f"set {ENVIRONMENT} to it, with its password"
            raise UserError(f"run {run_folder}", f"is recorded at {first['store']}", remedy)
        destination = resolve(run_folder, None if first["store"] == "embedded" else first["store"], {})
    try:
        Courier(run_folder, spool, destination, picture).deliver(lambda: True)
    except SpoolBusy:
        raise UserError(f"run {run_folder}", "is being sent by another process", "wait for it to end") from None
    except Exception as error:  # whatever MLflow, its database or the network raises becomes one line
        left = spool.behind(destination.label)
        raise PbtDisentError(f"{destination.description} lacks {left} records: {one_line(error)}") from error
    return destination
