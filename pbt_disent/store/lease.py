"""One driver per run: a lease with owner and epoch, so that a second one is refused and a late one cannot commit."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.files import UNFINISHED, write_atomically
from pbt_disent.store.process import is_here, lives, myself
from pbt_disent.types import Json

__all__ = ["Lease", "LeaseLost", "is_held"]

HEARTBEAT_SECONDS = 5.0
EXPIRES_SECONDS = 60.0


class LeaseLost(PbtDisentError):
    """Another driver took the run over; this one must not commit anything more."""


class Lease:
    """The right to write a run, taken at construction and given back by `release`.

    On the same machine the owner is alive if its process is; on another, if its heartbeat is younger than a minute by
    the clock of the file system that both write to.

    Args:
        path: the lease file.

    Raises:
        UserError: a living driver holds the run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        holder = self._read()
        if holder is not None and _alive(holder, path):
            raise UserError(
                f"run {path.parent}",
                f"is held by a live driver (pid {holder['pid']} on {holder['host']})",
                "wait for it, or end it first",
            )
        self.epoch = 1 + (int(holder["epoch"]) if holder else 0)
        self._claim = {"epoch": self.epoch, **myself()}
        self._write()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def _read(self) -> Json | None:
        try:
            holder: Json = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return holder

    def _write(self) -> None:
        write_atomically(self._path, json.dumps({**self._claim, "heartbeat": time.time()}).encode(), durable=False)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # a full disk: whoever commits will say so
                if not self._mine():
                    return
                self._write()

    def _mine(self) -> bool:
        holder = self._read()
        return holder is not None and all(holder.get(key) == value for key, value in self._claim.items())

    def check(self) -> None:
        """Raise `LeaseLost` unless this driver still holds the run; call it right before a commit."""
        if not self._mine():
            raise LeaseLost(f"run {self._path.parent} was taken over by another driver")

    def release(self) -> None:
        """Give the run back; the epoch stays on record."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # on a full disk the end of this process gives it back
            self._give_back()

    def _give_back(self) -> None:
        if self._mine():
            write_atomically(self._path, json.dumps({"epoch": self.epoch, "released": True}).encode(), durable=False)


def is_held(path: Path) -> bool:
    """Say whether a living driver holds the run whose lease file this is."""
    try:
        holder = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return _alive(holder, path)


def _alive(holder: Json, path: Path) -> bool:
    if holder.get("released"):
        return False
    return lives(holder) if is_here(holder) else _age(path) < EXPIRES_SECONDS


def _age(path: Path) -> float:
    """Return how long ago a file was written, by the clock of its file system where that can be asked."""
    try:
        prefix, _, suffix = UNFINISHED.partition("*")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=prefix, suffix=suffix) as probe:
            now = os.stat(probe.name).st_mtime
    except OSError:
        now = time.time()
    return now - path.stat().st_mtime
