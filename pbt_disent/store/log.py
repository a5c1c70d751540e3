"""Append-only logs: JSON lines in groups, which survive a crash in the middle of a write."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from pbt_disent.files import json_lines, read_json_lines
from pbt_disent.types import Json

__all__ = ["AppendOnlyLog"]


class AppendOnlyLog:
    """A log of JSON lines that takes each group of rows once; a group that a crash cut short is dropped at opening.

    Args:
        path: The file.
        closing: The name of an event: a row with that ``event`` closes its group. None makes every row a group of its
            own.

    Example:
        >>> import tempfile
        >>> log = AppendOnlyLog(Path(tempfile.mkdtemp()) / "log.jsonl", closing="finished")
        >>> rows = [{"event": "trained", "member": 0}, {"event": "finished", "generation": 0}]
        >>> log.append(rows), log.append(rows)
        (True, False)
        >>> len(log.rows())
        2
    """

    def __init__(self, path: Path, closing: str | None = None) -> None:
        self.path = path
        self._closing = closing
        self._keys = self._repair()

    def append(self, group: Iterable[Json]) -> bool:
        """Append a group of rows durably, unless its closing row is in the log already.

        Args:
            group: The rows; the last one closes the group.

        Returns:
            Whether the group was new.
        """
        rows = list(group)
        key = _key(rows[-1])
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

    def _repair(self) -> set[str]:
        """Cut off what a crash left of a group, and return the keys of the complete ones; keeps no row in memory."""
        keys: set[str] = set()
        if not self.path.exists():
            return keys
        complete = 0
        for row, end in json_lines(self.path):
            if row is None:
                break
            if self._closing is None or row.get("event") == self._closing:
                complete = end
                keys.add(_key(row))
        if complete < self.path.stat().st_size:
            with self.path.open("r+b") as file:
                file.truncate(complete)
        return keys


def _key(row: Json) -> str:
    return json.dumps(row, sort_keys=True)
