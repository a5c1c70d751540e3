"""The folder of a run: its names, its birth, and finding it again; or its place in an object store.

run.json config.yaml lease.json lineage.jsonl rounds.jsonl clock.jsonl spool.jsonl
rounds/<path>/generation-0000.json   superseded/   blobs/   labels/labels.parquet   model/
scores.json report.html mlflow.db mlartifacts/
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from pbt_disent.config import Config, read_yaml, validate, write_yaml
from pbt_disent.errors import UserError
from pbt_disent.store.claims import RemoteLease, is_claimed
from pbt_disent.store.documents import Documents, LocalDocuments, RemoteDocuments
from pbt_disent.store.files import write_atomically
from pbt_disent.store.filesystem import RemoteFiles, below, is_uri
from pbt_disent.store.lease import Lease, is_held
from pbt_disent.store.mirror import Mirror, cache_folder
from pbt_disent.types import Json

__all__ = ["FORMAT", "RunFolder", "create_run", "find_run", "newest_run", "refuse_secrets"]

FORMAT = 1
NAME = re.compile(r"[^./\\\s-][^/\\\x00-\x1f]*")
"""What a user may call a run: it becomes a folder beside the others."""


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


def create_run(config: Config, preset: str, root: Path | str, name: str | None) -> RunFolder:
    """Create a new run folder.

    Args:
        config: resolved.
        preset: where it came from, for people to read.
        root: folder or URI of all runs.
        name: of the run; by default the preset's name and the first free number.

    Raises:
        UserError: the name is taken or would be another folder, or the folder cannot be written.
    """
    refuse_secrets(config)
    if name is not None and not NAME.fullmatch(name):
        rule = "must be the name of one folder, which begins with no '.', '-' or space"
        raise UserError(f"--name {name}", rule, "choose another")
    names = [name] if name else (f"{preset}-{number}" for number in itertools.count(1))
    try:
        for candidate in names:
            folder = _claim(root, candidate)
            if folder is None:
                continue
            folder.write_config(config)
            folder.describe(preset=preset, config_digest=config.digest)
            folder.publish()
            return folder
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise UserError(f"run folder {root}", f"must be writable ({reason})", "choose another with --runs") from None
    raise UserError(f"run {name!r}", f"exists already in {root}", "give another --name, or resume it")


def _claim(root: Path | str, name: str) -> RunFolder | None:
    """Take a name for a new run; none where it is taken."""
    if not is_uri(root):
        Path(root).mkdir(parents=True, exist_ok=True)
        try:
            (Path(root) / name).mkdir()
        except FileExistsError:
            return None
        return RunFolder(Path(root) / name)
    location = below(root, name)
    files = RemoteFiles(location)
    if files.look("run.json") is not None:
        return None
    nonce = secrets.token_hex(8)
    files.write("run.json", json.dumps({"format": FORMAT, "name": name, "nonce": nonce}).encode())
    if json.loads(files.read("run.json")).get("nonce") != nonce:  # another one has taken it at the same moment
        return None
    return RunFolder(cache_folder(location), location)


def find_run(reference: str, root: Path | str) -> RunFolder:
    """Find a run by path or URI, or by name under `root`.

    Raises:
        UserError: there is none, or the folder is no run of a format that this version knows.
    """
    if is_uri(reference) or (is_uri(root) and not Path(reference).is_dir()):
        folder = _remote_run(reference if is_uri(reference) else below(root, reference))
    else:
        folder = RunFolder(_local_run(reference, Path(root)))
    try:
        description = folder.description()
    except (OSError, ValueError):
        raise UserError(
            f"folder {folder.location}", "is no run folder (it has no readable run.json)", "give the path of a run"
        ) from None
    if description.get("format") != FORMAT:
        raise UserError(
            f"run {folder.location} of format {description.get('format')}",
            f"must have format {FORMAT}",
            "use the version that wrote it",
        )
    return folder


def _local_run(reference: str, root: Path) -> Path:
    path = next((path for path in (Path(reference), root / reference) if path.is_dir()), None)
    if path is None:
        known = sorted(entry.parent.name for entry in root.glob("*/run.json"))
        raise UserError(
            f"run {reference!r}",
            "is neither a folder nor a name in " + str(root),
            f"known: {', '.join(known) or 'none'}",
        )
    return path


def _remote_run(location: str) -> RunFolder:
    """Open a run in an object store, with its mirror as the store has it now."""
    files, folder = RemoteFiles(location), RunFolder(cache_folder(location), location)
    try:
        there = files.look("run.json") is not None
        if there:
            folder.refresh()
    except OSError as error:
        raise UserError(
            f"run {location}", f"cannot be read ({error.strerror or error})", "see to the storage"
        ) from None
    if not there:
        raise UserError(f"run {location}", "is not there (it has no run.json)", "give the URI of a run")
    return folder


def newest_run(root: Path | str) -> RunFolder:
    """Return the run that was created last.

    Raises:
        UserError: there is none.
    """
    if is_uri(root):
        raise UserError(f"--runs {root}", "holds runs in no order of age", "name one")
    found = sorted(Path(root).glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"folder {root}", "holds no run", "start one with: pbt-disent run demo")
    return find_run(str(found[-1].parent), root)
