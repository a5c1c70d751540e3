"""The folder of a run: what is where in it, and what it says of itself; or its place in an object store.

run.json config.yaml lease.json lineage.jsonl rounds.jsonl clock.jsonl spool.jsonl
rounds/<path>/generation-0000.json   superseded/   blobs/   labels/labels.parquet   model/
scores.json report.html mlflow.db mlartifacts/
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from pbt_disent.config import Config, read_yaml, validate, write_yaml
from pbt_disent.errors import UserError
from pbt_disent.files import write_atomically
from pbt_disent.store.claims import RemoteLease, is_claimed
from pbt_disent.store.documents import Documents, LocalDocuments, RemoteDocuments
from pbt_disent.store.filesystem import RemoteFiles, below
from pbt_disent.store.lease import Lease, is_held
from pbt_disent.store.mirror import Mirror
from pbt_disent.types import Json

__all__ = ["FORMAT", "RunFolder", "refuse_secrets"]

FORMAT = 1


class RunFolder:
    """The paths in a run folder, and what its two descriptive files say.

    Args:
        path: of the folder; of a run in an object store, of its mirror on this machine.
        location: URI of a run in an object store.
    """

    def __init__(self, path: Path, location: str | None = None) -> None:
        self.path = path.resolve()
        self._remote = None if location is None else RemoteFiles(location)
        self._mirror = None if self._remote is None else Mirror(self._remote, self.path)

    @property
    def name(self) -> str:
        """The run's name: the folder's."""
        return self.path.name

    @property
    def location(self) -> str:
        """Path or URI: what a user says to mean this run."""
        return str(self.path) if self._remote is None else self._remote.location

    @property
    def blobs(self) -> str:
        """Path or URI of checkpoints and arrays by digest."""
        return below(self.location, "blobs")

    @property
    def labels(self) -> Path:
        """The label table."""
        return self.path / "labels" / "labels.parquet"

    @property
    def model(self) -> Path:
        """The final model."""
        return self.path / "model"

    @property
    def scores(self) -> Path:
        """The final scores."""
        return self.path / "scores.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def lease(self) -> Lease | RemoteLease:
        """Take the right to write the run.

        Raises:
            UserError: a living driver holds it.
        """
        return Lease(self.path / "lease.json") if self._remote is None else RemoteLease(self._remote)

    def documents(self, epoch: int) -> Documents:
        """Return where the driver of an epoch commits manifests."""
        if self._remote is None:
            return LocalDocuments(self.path)
        return RemoteDocuments(self._remote, epoch, self.path)

    def publish(self) -> None:
        """Copy what has changed on this machine to the object store, where the run is in one."""
        if self._mirror is not None:
            self._mirror.push()

    @contextlib.contextmanager
    def published(self, changed: threading.Event) -> Iterator[None]:
        """Publish in the background whenever `changed` is set, and once more at the end; nobody pulls meanwhile."""
        if self._mirror is None:
            yield
            return
        here = Lease(self.path / "lease.json")
        try:
            with self._mirror.following(changed):
                yield
        finally:
            here.release()

    def refresh(self) -> None:
        """Fetch what has changed in the object store, where the run is in one and no driver of this machine runs it.

        Raises:
            OSError: the store does not answer.
        """
        if self._mirror is not None and not is_held(self.path / "lease.json"):
            self._mirror.pull()

    @property
    def is_held(self) -> bool:
        """Whether a living driver is at work on the run."""
        return is_held(self.path / "lease.json") or (self._remote is not None and is_claimed(self._remote))

    @property
    def was_held(self) -> bool:
        """Whether any driver ever was."""
        there = (self.path / "lease.json").exists()
        return there or (self._remote is not None and bool(self._remote.entries("lease")))

    def config(self) -> Config:
        """Return the resolved config of the run.

        Raises:
            UserError: it is damaged.
        """
        path = self.path / "config.yaml"
        try:
            return validate(read_yaml(path.read_text(encoding="utf-8")))
        except (UnicodeError, yaml.YAMLError) as error:
            raise _damaged(path, error) from None

    def write_config(self, config: Config) -> None:
        """Write the resolved config, whole or not at all.

        Raises:
            UserError: it has a password in it.
        """
        refuse_secrets(config)
        write_atomically(self.path / "config.yaml", write_yaml(config).encode())

    def description(self) -> Json:
        """Return what `run.json` says.

        Raises:
            UserError: it is damaged.
        """
        path = self.path / "run.json"
        try:
            description: Json = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _damaged(path, error) from None
        if not isinstance(description, dict):
            raise _damaged(path, "it holds no object")
        return description

    def describe(self, **details: object) -> None:
        """Add to `run.json`."""
        known = self.description() if (self.path / "run.json").exists() else {}
        content = json.dumps({"format": FORMAT, "name": self.name, **known, **details}, indent=1, sort_keys=True)
        write_atomically(self.path / "run.json", (content + "\n").encode())


def _damaged(path: Path, reason: object) -> UserError:
    said = " ".join(str(reason).split())
    return UserError(f"{path}", f"cannot be read ({said})", "mend it, or start another run")


def refuse_secrets(config: Config) -> None:
    """Refuse a config with a password in it: configs are copied to run folders, clusters and MLflow.

    Raises:
        UserError: it has one.
    """
    parts = urlsplit(config.tracking.uri or "")
    if "@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]:
        shown = parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}").geturl()
        raise UserError(
            f"tracking.uri={shown}",
            "must not have a password in it",
            "leave it to the environment: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_URI",
        )
