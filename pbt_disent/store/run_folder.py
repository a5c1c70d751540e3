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
from pbt_disent.store.documents import Documents, LocalDocuments, RemoteDocuments
from pbt_disent.store.filesystem import RemoteFiles, join_location
from pbt_disent.store.lease import Lease, RemoteLease, is_held, is_remote_held
from pbt_disent.store.mirror import Mirror
from pbt_disent.types import Json

__all__ = ["FORMAT", "RunFolder", "check_format", "refuse_secrets"]

FORMAT = 2
"""The version of all that a run folder holds, as `run.json` states it."""


class RunFolder:
    """The paths in a run folder, and what its two descriptive files say.

    Args:
        path: The path of the folder; for a run in an object store, that of its mirror on this machine.
        location: The URI of a run in an object store; None for a run in a folder.
    """

    def __init__(self, path: Path, location: str | None = None) -> None:
        self.path = path.resolve()
        self._remote = None if location is None else RemoteFiles(location)
        self._mirror = None if self._remote is None else Mirror(self._remote, self.path)

    @property
    def name(self) -> str:
        """The name of the run, which is that of its folder."""
        return self.path.name

    @property
    def location(self) -> str:
        """The path or URI by which a user names this run."""
        return str(self.path) if self._remote is None else self._remote.location

    @property
    def blobs(self) -> str:
        """The path or URI of the blobs: checkpoints and arrays."""
        return join_location(self.location, "blobs")

    @property
    def labels(self) -> Path:
        """The path of the label table."""
        return self.path / "labels" / "labels.parquet"

    @property
    def model(self) -> Path:
        """The folder of the final model."""
        return self.path / "model"

    @property
    def scores(self) -> Path:
        """The path of the final scores."""
        return self.path / "scores.json"

    @property
    def report(self) -> Path:
        """The path of the report."""
        return self.path / "report.html"

    def lease(self) -> Lease | RemoteLease:
        """Take the right to write the run.

        Raises:
            UserError: A living driver holds it.
        """
        return Lease(self.path / "lease.json") if self._remote is None else RemoteLease(self._remote)

    def documents(self, epoch: int) -> Documents:
        """Return where the driver that holds the lease of an epoch commits manifests."""
        if self._remote is None:
            return LocalDocuments(self.path)
        return RemoteDocuments(self._remote, epoch, self.path)

    def publish(self) -> None:
        """Copy what has changed on this machine to the object store, where the run is in one."""
        if self._mirror is not None:
            self._mirror.push()

    @contextlib.contextmanager
    def published(self, changed: threading.Event) -> Iterator[None]:
        """Publish in the background whenever an event is set, and once more at the end; nobody pulls meanwhile.

        Args:
            changed: The event, which is cleared before each publication.
        """
        if self._mirror is None:
            yield
            return
        lease = Lease(self.path / "lease.json")
        try:
            with self._mirror.pushing(changed):
                yield
        finally:
            lease.release()

    def refresh(self) -> None:
        """Fetch what has changed in the object store, where the run is in one and no driver of this machine runs it.

        Raises:
            OSError: The store does not answer.
        """
        if self._mirror is not None and not is_held(self.path / "lease.json"):
            self._mirror.pull()

    @property
    def is_held(self) -> bool:
        """Whether a living driver is at work on the run."""
        return is_held(self.path / "lease.json") or (self._remote is not None and is_remote_held(self._remote))

    @property
    def was_held(self) -> bool:
        """Whether any driver ever was at work on the run."""
        if (self.path / "lease.json").exists():
            return True
        return self._remote is not None and bool(self._remote.list_files("lease"))

    def config(self) -> Config:
        """Return the resolved config of the run.

        Raises:
            UserError: It is damaged, or the run is not of the format that this version knows.
        """
        self.description()
        path = self.path / "config.yaml"
        try:
            return validate(read_yaml(path.read_text(encoding="utf-8")))
        except (UnicodeError, yaml.YAMLError) as error:
            raise _damaged(path, error) from None

    def write_config(self, config: Config) -> None:
        """Write the resolved config, completely or not at all.

        Args:
            config: The resolved config.

        Raises:
            UserError: It has a password in it.
        """
        refuse_secrets(config)
        write_atomically(self.path / "config.yaml", write_yaml(config).encode())

    def description(self) -> Json:
        """Return what `run.json` says.

        Raises:
            UserError: It is missing or damaged, or the run is not of the format that this version knows.
        """
        path = self.path / "run.json"
        try:
            description: Json = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            rule = "is no run folder (it has no run.json)"
            raise UserError(f"folder {self.location}", rule, "give the path of a run") from None
        except ValueError as error:
            raise _damaged(path, error) from None
        if not isinstance(description, dict):
            raise _damaged(path, "it holds no object")
        check_format(description, self.location)
        return description

    def describe(self, **details: object) -> None:
        """Add to what `run.json` says.

        Args:
            details: The values to add, by their names in the file.
        """
        current = self.description() if (self.path / "run.json").exists() else {}
        content = json.dumps({"format": FORMAT, "name": self.name, **current, **details}, indent=1, sort_keys=True)
        write_atomically(self.path / "run.json", (content + "\n").encode())


def check_format(description: Json, location: Path | str) -> None:
    """Refuse a run of another format than this version's.

    Args:
        description: What the run's `run.json` says.
        location: The path or URI of the run, for the message.

    Raises:
        UserError: The run has another format, or states none.
    """
    version = description.get("format")
    if version == FORMAT:
        return
    newer = isinstance(version, int) and version > FORMAT
    remedy = "use a newer pbt-disent" if newer else "start a new run, or use the version that wrote it"
    stated = "no format" if version is None else f"format {version}"
    raise UserError(f"run {location} of {stated}", f"must have format {FORMAT}", remedy)


def _damaged(path: Path, reason: object) -> UserError:
    rule = f"cannot be read ({' '.join(str(reason).split())})"
    return UserError(f"{path}", rule, "repair it, or start another run")


def refuse_secrets(config: Config) -> None:
    """Refuse a config with a password in it: configs are copied to run folders, clusters and MLflow.

    Args:
        config: The config.

    Raises:
        UserError: It has one.
    """
    parts = urlsplit(config.tracking.uri or "")
    if "@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]:
        shown = parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}").geturl()
        raise UserError(
            f"tracking.uri={shown}",
            "must not have a password in it",
            "leave it to the environment: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_URI",
        )
