"""A parquet file with a column of encoded pictures, as bytes or as a structure with a field ``bytes``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pbt_disent.data.base import ImageData
from pbt_disent.data.converted import OnCorrupt, converted
from pbt_disent.data.damage import reading
from pbt_disent.data.pictures import Header, header
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.storage import Progress
from pbt_disent.errors import UserError, nearest

__all__ = ["open_parquet"]


def match(path: Path) -> Match:
    """Know the file by its suffix."""
    return Match.FORMAT if path.is_file() and path.suffix in (".parquet", ".pq") else Match.NO


def open_parquet(
    path: Path,
    column: str | None = None,
    size: int | None = None,
    on_corrupt: OnCorrupt = "refuse",
    cache: Path | str | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Return the pictures of a column in the order of the rows.

    Args:
        path: the file.
        column: the column of pictures; by default the only one that holds bytes.
        size: height and width of the result, by the rule of `pbt_disent.data.pictures`; None keeps theirs.
        on_corrupt: what to do with a picture that cannot be read: ``refuse`` or ``skip``.
        cache: folder for the converted pictures.
        progress: called with pictures done and to do.

    Raises:
        UserError: no such column, a picture that cannot be read, mixed sizes without `size`.
    """
    known = path.stat()
    key = {"file": str(path.resolve()), "length": known.st_size, "changed": known.st_mtime_ns, "column": column}
    return converted(
        path.stem, key, lambda: _Column(path, column), size=size, on_corrupt=on_corrupt, cache=cache, progress=progress
    )


class _Column:
    def __init__(self, path: Path, column: str | None) -> None:
        self._path = path
        with reading(path, "is truncated or no parquet file"):
            self._file = pq.ParquetFile(path)
        fields = {field.name: field.type for field in self._file.schema_arrow}
        likely = [name for name, kind in fields.items() if _holds_bytes(kind)]
        if column is None and len(likely) == 1:
            column = likely[0]
        if column is None:
            raise UserError(
                f"file {path}", "has no single column of pictures", f"say column=NAME; {nearest('', fields)}"
            )
        if column not in likely:
            raise UserError(f"column {column!r} of {path}", "holds no pictures as bytes", nearest(column, likely))
        self._column = column
        groups = range(self._file.num_row_groups)
        self._ends = np.cumsum([self._file.metadata.row_group(group).num_rows for group in groups])
        self.names = [f"{path.name}[{row}]" for row in range(self._file.metadata.num_rows)]
        self._group = lru_cache(maxsize=1)(self._read_group)

    def read(self, index: int) -> bytes:
        """Return the bytes in one row; none where the row is empty."""
        group = int(np.searchsorted(self._ends, index, side="right"))
        rows = self._group(group)
        value = rows[index - (int(self._ends[group]) - len(rows))].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        return content or b""

    def _read_group(self, group: int) -> pa.ChunkedArray[Any]:
        with reading(self._path, f"is damaged in row group {group}"):
            return self._file.read_row_group(group, columns=[self._column]).column(0)


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _first(path: Path, column: str | None = None) -> Header:
    rows = _Column(path, column)
    return header(path.name, rows.read(0) if rows.names else b"")


READERS.register("parquet")(Reader("parquet with a column of encoded pictures", match, open_parquet, first=_first))
