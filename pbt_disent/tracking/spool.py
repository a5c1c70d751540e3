"""The queue between a run and MLflow, on disk: the run appends records, and whoever sends them acknowledges them.

    spool.jsonl   one record per line; the first one names the run
    spool.ack     how many bytes of it each store has
    spool.lock    held by the one process that sends

Records survive the death of the process (not of the machine: what they tell is in the manifests, which are synced).
They are not made from the manifests when they are sent: manifests hold neither times nor how busy the machine was, and
of a run in an object store all of them would be read back (for 56 members and 20 generations 826 kB, records 673 kB).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pbt_disent.files import json_lines, write_atomically
from pbt_disent.types import Json

__all__ = ["Spool", "SpoolBusy", "SpooledRecord"]


class SpoolBusy(Exception):
    """Another process sends the records of this spool at the moment."""


@dataclass(frozen=True)
class SpooledRecord:
    """A record, and where it ends in the spool.

    Args:
        content: The record.
        end: The offset of the end of its line, in bytes.
    """

    content: Json
    end: int


class Spool:
    """The records of one run in order, each key once. `append` and the readers may be in different threads.

    Args:
        folder: The run folder.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> spool = Spool(folder)
        >>> spool.append({"key": "run"}), spool.append({"key": "run"})
        (True, False)
        >>> spool.acknowledge("embedded", spool.size)
        >>> spool.count_pending("embedded"), spool.count_pending("another store")
        (0, 1)
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "spool.jsonl"
        self._offsets_path = folder / "spool.ack"
        self._lock_path = folder / "spool.lock"
        self._mutex = threading.Lock()
        self._keys: set[str] | None = None

    @property
    def first(self) -> Json | None:
        """The record that names the run, or None if nothing was written yet."""
        return next((record.content for record in self.records(0)), None)

    @property
    def size(self) -> int:
        """The number of bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, record: Json) -> bool:
        """Append a record unless one with its key is in the spool already. Takes well under 1 ms.

        Args:
            record: The record, which has a ``key``.

        Returns:
            Whether the record was new.
        """
        with self._mutex:
            if self._keys is None:
                self._keys = self._repair()
            if record["key"] in self._keys:
                return False
            line = json.dumps(record, sort_keys=True, allow_nan=False) + "\n"
            with self.path.open("ab") as file:
                file.write(line.encode())
            self._keys.add(record["key"])
            return True

    def records(self, start: int) -> Iterator[SpooledRecord]:
        """Yield the records behind an offset; a line that is not complete yet is left for the next call.

        Raises:
            ValueError: A line is no JSON object.
        """
        for content, end in json_lines(self.path, start):
            if content is None:
                raise ValueError(f"{self.path} is damaged before byte {end}")
            yield SpooledRecord(content, end)

    def acknowledged(self, store: str) -> int:
        """Return the offset up to which a store, given by its label, has the records."""
        return min(int(self._offsets().get(store, 0)), self.size)

    def acknowledge(self, store: str, offset: int) -> None:
        """Note the offset up to which a store, given by its label, has the records."""
        content = json.dumps({**self._offsets(), store: offset}, sort_keys=True) + "\n"
        write_atomically(self._offsets_path, content.encode(), durable=False)

    def count_pending(self, store: str) -> int:
        """Return how many records a store, given by its label, does not have yet."""
        return sum(1 for _ in self.records(self.acknowledged(store)))

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Hold the right to send; the kernel takes it back when the process dies.

        Raises:
            SpoolBusy: Another process holds it.
        """
        handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SpoolBusy(f"{self._lock_path} is held by another process") from None
            yield
        finally:
            os.close(handle)

    def _offsets(self) -> dict[str, int]:
        try:
            offsets = json.loads(self._offsets_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return offsets if isinstance(offsets, dict) else {}

    def _repair(self) -> set[str]:
        """Cut off what a crash left of a line (only whoever appends may do that), and return the keys on record."""
        keys, end = set(), 0
        for record in self.records(0):
            keys.add(record.content["key"])
            end = record.end
        if end < self.size:
            with self.path.open("r+b") as file:
                file.truncate(end)
        return keys
