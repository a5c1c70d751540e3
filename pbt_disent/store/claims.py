"""One driver per run where no file can be locked: a lease for object stores that list what was written before.

Every driver writes a claim of its own, then lists all claims. Of two that claim at once at least one sees the other,
and whoever sees a living claim beside its own takes its own back: at worst both do. So no epoch ever has two owners.
Ages are differences between times that the storage itself wrote, so no clock of any machine matters.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import threading
import time

from pbt_disent.errors import UserError
from pbt_disent.store.filesystem import Entry, RemoteFiles
from pbt_disent.store.lease import EXPIRES_SECONDS, LeaseLost
from pbt_disent.store.process import is_here, lives, myself
from pbt_disent.types import Json

__all__ = ["RemoteLease", "is_claimed"]

FOLDER = "lease"
HEARTBEAT_SECONDS = 15.0
CLAIM = re.compile(rf"^{FOLDER}/epoch-(?P<epoch>\d{{6}})-[0-9a-f]+\.json$")


class RemoteLease:
    """The right to write a run in an object store; see `pbt_disent.store.lease.Lease`.

    Args:
        files: of the run.

    Raises:
        UserError: a living driver holds the run, or another one is taking it at this moment.
    """

    def __init__(self, files: RemoteFiles) -> None:
        self._files = files
        self._claim = myself()
        nonce = secrets.token_hex(8)
        probe = f"{FOLDER}/probe-{nonce}"
        self._files.write(probe, b"")
        now = self._files.look(probe)
        claims = self._claims()
        self._files.delete(probe)
        self._refuse(claims, now)
        self.epoch = 1 + max((epoch for _, epoch in claims), default=0)
        self._name = f"{FOLDER}/epoch-{self.epoch:06d}-{nonce}.json"
        self._write()
        try:
            others = [(entry, epoch) for entry, epoch in self._claims() if entry.name != self._name]
            self._refuse(others, self._files.look(self._name))
        except BaseException:
            self._files.delete(self._name)
            raise
        for entry, _ in others:
            self._files.delete(entry.name)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise `LeaseLost` unless this driver still holds the run; call it right before a commit."""
        newest = max(self._claims(), key=lambda pair: pair[1], default=None)
        if newest is None or newest[0].name != self._name:
            raise LeaseLost(f"run {self._files.location} was taken over by another driver")

    def release(self) -> None:
        """Give the run back; the epoch stays on record."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(LeaseLost):
            self.check()
            self._claim["released"] = True
            self._write()

    def _claims(self) -> list[tuple[Entry, int]]:
        return _claims(self._files)

    def _write(self) -> None:
        self._files.write(self._name, json.dumps(self._claim).encode())

    def _refuse(self, claims: list[tuple[Entry, int]], now: Entry | None) -> None:
        """Refuse to go on beside a living claim."""
        for entry, _ in claims:
            if (holder := _living(self._files, entry, None if now is None else now.modified)) is not None:
                raise UserError(
                    f"run {self._files.location}",
                    f"is held by a live driver (pid {holder['pid']} on {holder['host']})",
                    "wait for it, or end it first",
                )

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):
                if self._files.look(self._name) is None:
                    return
                self._write()


def is_claimed(files: RemoteFiles) -> bool:
    """Say whether a living driver seems to hold the run, for people: this machine's clock is taken for the store's."""
    return any(_living(files, entry, time.time()) is not None for entry, _ in _claims(files))


def _claims(files: RemoteFiles) -> list[tuple[Entry, int]]:
    found = ((entry, CLAIM.match(entry.name)) for entry in files.entries(FOLDER))
    return [(entry, int(match["epoch"])) for entry, match in found if match]


def _living(files: RemoteFiles, entry: Entry, now: float | None) -> Json | None:
    """Return who holds a claim, if it lives at a time of the store's clock; a claim of no known age does."""
    try:
        holder: Json = json.loads(files.read(entry.name))
    except (FileNotFoundError, ValueError):
        return None
    age = 0.0 if now is None else now - entry.modified
    alive = lives(holder) if is_here(holder) else age < EXPIRES_SECONDS
    return holder if alive and not holder.get("released") else None
