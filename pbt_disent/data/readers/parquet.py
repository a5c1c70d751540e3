"""A parquet file with a column of encoded pictures, as bytes or as a structure with a field ``bytes``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pbt_disent.data.pictures import PictureHeader, read_header
from pbt_disent.data.readers import READERS, Match, PictureReader
from pbt_disent.data.source_files import reading
from pbt_disent.errors import UserError, nearest
from pbt_disent.types import Json

__all__ = ["Parquet"]


@READERS.register("parquet")
class Parquet(PictureReader):
    """The pictures of a column of a parquet file in the order of the rows."""

    formats = "parquet with a column of encoded pictures"

    column: str | None = Field(
        None, description="The name of the column of pictures. By default the only one that holds bytes."
    )

    @classmethod
    def match(cls, path: Path) -> Match:
        """Know the file by its suffix."""
        return Match.FORMAT if path.is_file() and path.suffix in (".parquet", ".pq") else Match.NO

    def key(self, path: Path) -> Json:
        """Return the path, length and time of change of the file, and the column."""
        status = path.stat()
        return {
            "file": str(path.resolve()),
            "length": status.st_size,
            "changed": status.st_mtime_ns,
            "column": self.column,
        }

    def source(self, path: Path) -> _ColumnSource:
        """Return the encoded pictures."""
        return _ColumnSource(path, self.column)

    def first_picture(self, path: Path) -> PictureHeader:
        """Return the header of the picture in the first row."""
        source = self.source(path)
        return read_header(path.name, source.read(0) if source.names else b"")


class _ColumnSource:
    def __init__(self, path: Path, column: str | None) -> None:
        self._path = path
        with reading(path, "is truncated or no parquet file"):
            self._file = pq.ParquetFile(path)
        columns = {field.name: field.type for field in self._file.schema_arrow}
        candidates = [name for name, kind in columns.items() if _holds_bytes(kind)]
        if column is None and len(candidates) == 1:
            column = candidates[0]
        if column is None:
            raise UserError(
                f"file {path}", "has no single column of pictures", f"set column=NAME; {nearest('', columns)}"
            )
        if column not in candidates:
            raise UserError(f"column {column!r} of {path}", "holds no pictures as bytes", nearest(column, candidates))
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


def _holds_bytes(column: pa.DataType) -> bool:
    if pa.types.is_struct(column):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in column)
    return bool(pa.types.is_binary(column) or pa.types.is_large_binary(column))
