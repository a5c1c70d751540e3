"""Logs that only grow: append-only JSON lines that survive a crash in the middle of a write."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from pbt_disent.files import json_lines, read_json_lines
from pbt_disent.types import Json

__all__ = ["GrowingLog"]


class GrowingLog:
    """An append-only log of JSON lines, read in groups; a group that a crash cut short is dropped at opening.

    Args:
        path: the file.
        closing: an event name; a row with that `event` closes its group. None: every row is a group of its own.
    """

    def __init__(self, path: Path, closing: str | None = None) -> None:
        self.path = path
        self._closing = closing
        self._keys = self._repair()

    def _closes(self, row: Json) -> bool:
        return self._closing is None or row.get("event") == self._closing

    def _key(self, row: Json) -> str:
        return json.dumps(row, sort_keys=True)

    def _repair(self) -> set[str]:
        """Cut off what a crash left of a group, and return the keys of the whole ones; no row is kept in memory."""
        keys: set[str] = set()
        if not self.path.exists():
            return keys
        end = 0
        for row, position in json_lines(self.path):
            if row is None:
                break
            if self._closes(row):
                end = position
                keys.add(self._key(row))
        if end < self.path.stat().st_size:
            with self.path.open("r+b") as file:
                file.truncate(end)
        return keys

    def append(self, group: Iterable[Json]) -> bool:
        """Append a group of rows durably, unless its closing row is in the log already; say whether it was new."""
        rows = list(group)
        key = self._key(rows[-1])
        if key in self._keys:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode())
            file.flush()
            os.fsync(file.fileno())
        self._keys.add(key)
        return True

    def rows(self) -> list[Json]:
        """Return all rows in the order in which they were written."""
        return read_json_lines(self.path)
