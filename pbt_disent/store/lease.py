"""One driver per run: a lease with owner and epoch, so that a second driver is refused and a late one cannot commit.

In a folder the lease is one file. Whether its owner lives is asked of the process table, or on another machine told by
the age of the file, by the clock of the file system that both write to; no machine's own clock is compared with
another's, for clocks jump.

In an object store no file can be locked, and pyarrow cannot write on the condition that a name is free (see
`pbt_disent.store.documents`). There every driver writes a claim of its own, then lists all claims. Of two that claim at
once at least one sees the other, and whoever sees a living claim beside its own takes its own back: at worst both do.
So no epoch ever has two owners. This needs a store that lists what was written before, as S3 and Google's do.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import tempfile
import threading
import time
from pathlib import Path

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.files import UNFINISHED, write_atomically
from pbt_disent.store.filesystem import FileInfo, RemoteFiles
from pbt_disent.types import Json

__all__ = ["Lease", "LeaseLost", "RemoteLease", "is_held", "is_remote_held"]

HEARTBEAT_SECONDS = 5.0
REMOTE_HEARTBEAT_SECONDS = 15.0
EXPIRY_SECONDS = 60.0
"""A lease of another machine expires after this long without a heartbeat."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
START_FIELD = 19
"""The field of /proc/<pid>/stat after the name: clock ticks between the machine's start and the process'."""
CLAIMS = "lease"
"""The folder of the claims on a run in an object store."""
CLAIM_NAME = re.compile(rf"^{CLAIMS}/epoch-(?P<epoch>\d{{6}})-[0-9a-f]+\.json$")


class LeaseLost(PbtDisentError):
    """Another driver took the run over; this one must not commit anything more."""


class Lease:
    """The right to write a run in a folder, taken at construction and given back by `release`.

    Args:
        path: The lease file.

    Raises:
        UserError: A living driver holds the run.

    Example:
        >>> path = Path(tempfile.mkdtemp()) / "lease.json"
        >>> lease = Lease(path)
        >>> lease.epoch, is_held(path)
        (1, True)
        >>> lease.release()
        >>> is_held(path)
        False
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        holder = _read_holder(self._path)
        if holder is not None and _is_alive(holder, path):
            raise _held(path.parent, holder)
        self.epoch = 1 + (int(holder["epoch"]) if holder else 0)
        self._claim = {"epoch": self.epoch, **_this_process()}
        self._write()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise `LeaseLost` unless this driver still holds the run; call it right before a commit."""
        if not self._is_mine():
            raise LeaseLost(f"run {self._path.parent} was taken over by another driver")

    def release(self) -> None:
        """Give the run back; the epoch stays on record."""
        self._released.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # on a full disk the lease lapses when this process exits
            if self._is_mine():
                content = json.dumps({"epoch": self.epoch, "released": True})
                write_atomically(self._path, content.encode(), durable=False)

    def _write(self) -> None:
        write_atomically(self._path, json.dumps({**self._claim, "heartbeat": time.time()}).encode(), durable=False)

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # a full disk: whoever commits will say so
                if not self._is_mine():
                    return
                self._write()

    def _is_mine(self) -> bool:
        holder = _read_holder(self._path)
        return holder is not None and all(holder.get(key) == value for key, value in self._claim.items())


def is_held(path: Path) -> bool:
    """Return whether a living driver holds the run whose lease file this is."""
    holder = _read_holder(path)
    return holder is not None and _is_alive(holder, path)


def _read_holder(path: Path) -> Json | None:
    try:
        holder: Json = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return holder


class RemoteLease:
    """The right to write a run in an object store; see `Lease`.

    Args:
        files: The files of the run.

    Raises:
        UserError: A living driver holds the run, or another one is taking it at this moment.
    """

    def __init__(self, files: RemoteFiles) -> None:
        self._files = files
        self._claim = _this_process()
        nonce = secrets.token_hex(8)
        clock = f"{CLAIMS}/clock-{nonce}"
        self._files.write(clock, b"")
        now = self._files.stat(clock)
        claims = _claims(self._files)
        self._files.delete(clock)
        self._refuse_beside(claims, now)
        self.epoch = 1 + max((epoch for _, epoch in claims), default=0)
        self._name = f"{CLAIMS}/epoch-{self.epoch:06d}-{nonce}.json"
        self._write()
        try:
            rivals = [(claim, epoch) for claim, epoch in _claims(self._files) if claim.name != self._name]
            self._refuse_beside(rivals, self._files.stat(self._name))
        except BaseException:
            self._files.delete(self._name)
            raise
        for claim, _ in rivals:
            self._files.delete(claim.name)
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise `LeaseLost` unless this driver still holds the run; call it right before a commit."""
        newest = max(_claims(self._files), key=lambda pair: pair[1], default=None)
        if newest is None or newest[0].name != self._name:
            raise LeaseLost(f"run {self._files.location} was taken over by another driver")

    def release(self) -> None:
        """Give the run back; the epoch stays on record."""
        self._released.set()
        self._thread.join()
        with contextlib.suppress(LeaseLost):
            self.check()
            self._claim["released"] = True
            self._write()

    def _write(self) -> None:
        self._files.write(self._name, json.dumps(self._claim).encode())

    def _refuse_beside(self, claims: list[tuple[FileInfo, int]], now: FileInfo | None) -> None:
        """Refuse to go on beside a living claim."""
        for claim, _ in claims:
            holder = _living_holder(self._files, claim, None if now is None else now.modified)
            if holder is not None:
                raise _held(self._files.location, holder)

    def _beat(self) -> None:
        while not self._released.wait(REMOTE_HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                if self._files.stat(self._name) is None:
                    return
                self._write()


def is_remote_held(files: RemoteFiles) -> bool:
    """Return whether a living driver seems to hold a run; this machine's clock is taken for the store's.

    Args:
        files: The files of the run.
    """
    return any(_living_holder(files, claim, time.time()) is not None for claim, _ in _claims(files))


def _claims(files: RemoteFiles) -> list[tuple[FileInfo, int]]:
    """Return the claims on a run, each with its epoch."""
    matches = ((info, CLAIM_NAME.match(info.name)) for info in files.list_files(CLAIMS))
    return [(info, int(match["epoch"])) for info, match in matches if match]


def _living_holder(files: RemoteFiles, claim: FileInfo, now: float | None) -> Json | None:
    """Return who holds a claim, if it lives at a time of the store's clock; a claim of no known age does."""
    try:
        holder: Json = json.loads(files.read(claim.name))
    except (FileNotFoundError, ValueError):
        return None
    age = 0.0 if now is None else now - claim.modified
    alive = _is_running(holder) if _is_on_this_machine(holder) else age < EXPIRY_SECONDS
    return holder if alive and not holder.get("released") else None


def _held(run: Path | str, holder: Json) -> UserError:
    rule = f"is held by a live driver (pid {holder['pid']} on {holder['host']})"
    return UserError(f"run {run}", rule, "wait for it, or end it first")


def _is_alive(holder: Json, path: Path) -> bool:
    if holder.get("released"):
        return False
    return _is_running(holder) if _is_on_this_machine(holder) else _age(path) < EXPIRY_SECONDS


def _age(path: Path) -> float:
    """Return how long ago a file was written, by the clock of its file system where that can be asked."""
    try:
        prefix, _, suffix = UNFINISHED.partition("*")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=prefix, suffix=suffix) as file:
            now = os.stat(file.name).st_mtime
    except OSError:
        now = time.time()
    return now - path.stat().st_mtime


def _this_process() -> Json:
    """Describe this process so that another one can tell whether it runs."""
    pid = os.getpid()
    return {"pid": pid, "started": _start_time(pid), "host": socket.gethostname(), "machine": _machine()}


def _is_on_this_machine(process: Json) -> bool:
    """Return whether a process ran on this machine, since its last start, among the processes that are seen here."""
    return bool(process.get("machine") == _machine())


def _is_running(process: Json) -> bool:
    """Return whether a process of this machine runs; its id may have been given to another one since."""
    return bool(_start_time(int(process["pid"])) == process["started"])


def _start_time(pid: int) -> int | None:
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = content.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[START_FIELD])


def _machine() -> str:
    return f"{BOOT_ID.read_text(encoding='ascii').strip()}/{os.readlink('/proc/self/ns/pid')}"
