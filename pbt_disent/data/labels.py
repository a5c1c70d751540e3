"""Labels for a set of images from a parquet or CSV file, for all images or for some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from pbt_disent.data.base import UNKNOWN, ImageData, Indices, as_indices
from pbt_disent.data.classes import class_ids
from pbt_disent.data.damage import reading
from pbt_disent.errors import UserError, nearest
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["Labelled", "with_labels"]

INDEX = "index"
FILE_COLUMNS = ("file", "path", "filename", "image")


class Labelled:
    """A view of images with factors of its own; the images, and so the fingerprint, are those of the set.

    Args:
        data: the images.
        ids: (N, K) class ids, `UNKNOWN` where there is no label.
        names: the K factors.
        sizes: the number of classes of each.
    """

    def __init__(self, data: ImageData, ids: IntArray, names: tuple[str, ...], sizes: tuple[int, ...]) -> None:
        self.data, self._ids = data, ids
        self.name, self.fingerprint, self.shape = data.name, data.fingerprint, data.shape
        self.factor_names, self.factor_sizes = names, sizes

    def __len__(self) -> int:
        return len(self.data)

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, C, H, W)."""
        return self.data.images(indices)

    def factors(self, indices: Indices) -> IntArray:
        """Return the class ids at `indices`, (N, K)."""
        return self._ids[as_indices(indices, len(self))]


def with_labels(data: ImageData, path: Path | str, columns: Sequence[str] | None = None) -> Labelled:
    """Return `data` with the labels of a file as its factors.

    A column ``index`` says which image a row belongs to, or a column ``file`` (``path``, ``filename``, ``image``) with
    its name does for a folder of pictures; images without a row, and empty cells, stay unknown. Without such a column
    there must be one row per image. The values of each column are numbered in their order.

    Args:
        data: the images.
        path: a parquet or CSV file with a header.
        columns: which columns are factors; by default all others that hold numbers, texts or truth values.

    Raises:
        UserError: an unreadable file, labels of another length, an image that is not there or is named twice.
    """
    if not isinstance(path, str | Path):
        raise UserError(f"labels {path!r}", "must be a path", "give a parquet or CSV file")
    table = _read(Path(path).expanduser())
    rows, key = _rows_of(data, table, str(path))
    usable = [field.name for field in table.schema if field.name != key and _is_plain(field.type)]
    names = tuple(columns) if columns is not None else tuple(usable)
    for name in names:
        if name not in usable:
            raise UserError(f"column {name!r} of {path}", "is no column of labels", nearest(name, usable))
    if not names:
        raise UserError(f"labels {path}", "hold no column of labels", "add one per factor")
    found, sizes = class_ids([np.array(table.column(name).to_pylist(), dtype=object) for name in names])
    for name, count in zip(names, sizes, strict=True):
        if count == 0:
            raise UserError(f"column {name!r} of {path}", "is empty", "leave it out")
    ids = np.full((len(data), len(names)), UNKNOWN, dtype=np.int64)
    ids[rows] = found
    return Labelled(data, ids, names, sizes)


def _read(path: Path) -> pa.Table:
    with reading(path, "cannot be read", "give a parquet or CSV file", kind="labels"):
        if path.suffix in (".parquet", ".pq"):
            return pq.read_table(path)
        return csv.read_csv(path, convert_options=csv.ConvertOptions(strings_can_be_null=True))


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    tests = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_null,
        _is_text,
    )
    return any(test(kind) for test in tests)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _rows_of(data: ImageData, table: pa.Table, path: str) -> tuple[IntArray, str | None]:
    """Return the image of each row, and the column that says so."""
    files = getattr(data, "files", None)
    named = [field.name for field in table.schema if _is_text(field.type)]
    key = next((name for name in FILE_COLUMNS if files is not None and name in named), None)
    if key is not None and files is not None:
        place = {name: index for index, name in enumerate(files)}
        values = table.column(key).to_pylist()
        missing = [value for value in values if value not in place]
        if missing:
            raise UserError(f"label of {missing[0]!r} in {path}", "belongs to no picture", "remove the row")
        rows = np.array([place[value] for value in values], dtype=np.int64)
    elif INDEX in table.column_names:
        key = INDEX
        try:
            rows = as_indices(np.array(table.column(INDEX).to_pylist()), len(data))
        except (TypeError, IndexError) as error:
            raise UserError(f"column {INDEX!r} of {path}", str(error), "number the images from 0") from error
    elif table.num_rows != len(data):
        raise UserError(
            f"labels {path}", f"are {table.num_rows} for {len(data)} images", f"add a column {INDEX!r} to label some"
        )
    else:
        rows = np.arange(len(data))
    if len(np.unique(rows)) != len(rows):
        raise UserError(f"labels {path}", "name an image twice", "keep one row per image")
    return rows, key
