"""Labels for a set of images from a parquet or CSV file, for all images or for some, as class ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from pbt_disent.data.base import UNKNOWN, ImageData, Indices, as_indices
from pbt_disent.data.source_files import reading
from pbt_disent.errors import UserError, nearest
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["LabelledImages", "class_ids", "with_labels"]

INDEX_COLUMN = "index"
FILE_COLUMNS = ("file", "path", "filename", "image")


class LabelledImages:
    """A view of images with factors of its own; the images, and so the fingerprint, are those of the set.

    Args:
        data: The images.
        ids: The class ids (N, K), `UNKNOWN` where there is no label.
        names: The names of the K factors.
        sizes: The number of classes of each factor.
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


def with_labels(data: ImageData, path: Path | str, columns: Sequence[str] | None = None) -> LabelledImages:
    r"""Return `data` with the labels of a file as its factors.

    A column ``index`` says which image a row belongs to, or a column ``file`` (``path``, ``filename``, ``image``) with
    its name does for a folder of pictures; images without a row, and empty cells, stay unknown. Without such a column
    there must be one row per image. The values of each column are numbered in their order.

    Args:
        data: The images.
        path: The path of a parquet or CSV file with a header.
        columns: The names of the columns that are factors. By default all others that hold numbers, texts or truth
            values are.

    Raises:
        UserError: The file cannot be read, has labels of another length, or names an image that is not there or twice.

    Example:
        >>> import tempfile
        >>> from pbt_disent.data import load
        >>> path = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = path.write_text("index,kind\n5,round\n0,square\n")
        >>> labelled = with_labels(load("sprites"), path)
        >>> labelled.factor_names, labelled.factors([0, 1, 5]).tolist()
        (('kind',), [[1], [-1], [0]])
    """
    if not isinstance(path, str | Path):
        raise UserError(f"labels {path!r}", "must be a path", "give a parquet or CSV file")
    table = _read_table(Path(path).expanduser())
    rows, row_column = _labelled_images(data, table, str(path))
    usable = [field.name for field in table.schema if field.name != row_column and _is_label(field.type)]
    names = tuple(columns) if columns is not None else tuple(usable)
    for name in names:
        if name not in usable:
            raise UserError(f"column {name!r} of {path}", "is no column of labels", nearest(name, usable))
    if not names:
        raise UserError(f"labels {path}", "hold no column of labels", "add one per factor")
    row_ids, sizes = class_ids([np.array(table.column(name).to_pylist(), dtype=object) for name in names])
    for name, size in zip(names, sizes, strict=True):
        if size == 0:
            raise UserError(f"column {name!r} of {path}", "is empty", "leave it out")
    ids = np.full((len(data), len(names)), UNKNOWN, dtype=np.int64)
    ids[rows] = row_ids
    return LabelledImages(data, ids, names, sizes)


def class_ids(columns: Sequence[npt.NDArray[Any]]) -> tuple[IntArray, tuple[int, ...]]:
    """Number the different values of each column in their order; NaN and None become `UNKNOWN`.

    Args:
        columns: The K columns of N values each, numbers or texts.

    Returns:
        The class ids (N, K), and the number of classes of each column.

    Example:
        >>> ids, sizes = class_ids([np.array([30, 10, 30]), np.array(["b", None, "a"], dtype=object)])
        >>> ids.tolist(), sizes
        ([[1, 1], [0, -1], [1, 0]], (2, 2))
    """
    ids = [_column_ids(np.asarray(column)) for column in columns]
    return np.stack(ids, axis=1), tuple(int(column.max(initial=UNKNOWN)) + 1 for column in ids)


def _column_ids(column: npt.NDArray[Any]) -> IntArray:
    values = column.tolist()
    is_known = np.array([_is_known(value) for value in values])
    ids = np.full(len(column), UNKNOWN, dtype=np.int64)
    if is_known.any():
        known_values = np.array([value for value, known in zip(values, is_known, strict=True) if known])
        ids[is_known] = np.unique(known_values, return_inverse=True)[1]
    return ids


def _is_known(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _read_table(path: Path) -> pa.Table:
    with reading(path, "cannot be read", "give a parquet or CSV file", kind="labels"):
        if path.suffix in (".parquet", ".pq"):
            return pq.read_table(path)
        return csv.read_csv(path, convert_options=csv.ConvertOptions(strings_can_be_null=True))


def _is_label(column: pa.DataType) -> bool:
    if pa.types.is_dictionary(column):
        return _is_label(column.value_type)
    tests = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_null,
        _is_text,
    )
    return any(test(column) for test in tests)


def _is_text(column: pa.DataType) -> bool:
    return bool(pa.types.is_string(column) or pa.types.is_large_string(column))


def _labelled_images(data: ImageData, table: pa.Table, path: str) -> tuple[IntArray, str | None]:
    """Return the index of the image of each row, and the column that says so."""
    files = getattr(data, "files", None)
    text_columns = [field.name for field in table.schema if _is_text(field.type)]
    column = next((name for name in FILE_COLUMNS if files is not None and name in text_columns), None)
    if column is not None and files is not None:
        index_of = {name: index for index, name in enumerate(files)}
        names = table.column(column).to_pylist()
        missing = [name for name in names if name not in index_of]
        if missing:
            raise UserError(f"label of {missing[0]!r} in {path}", "belongs to no picture", "remove the row")
        indices = np.array([index_of[name] for name in names], dtype=np.int64)
    elif INDEX_COLUMN in table.column_names:
        column = INDEX_COLUMN
        try:
            indices = as_indices(np.array(table.column(INDEX_COLUMN).to_pylist()), len(data))
        except (TypeError, IndexError) as error:
            raise UserError(f"column {INDEX_COLUMN!r} of {path}", str(error), "number the images from 0") from error
    elif table.num_rows != len(data):
        raise UserError(
            f"labels {path}",
            f"are {table.num_rows} for {len(data)} images",
            f"add a column {INDEX_COLUMN!r} to label some",
        )
    else:
        indices = np.arange(len(data))
    if len(np.unique(indices)) != len(indices):
        raise UserError(f"labels {path}", "name an image twice", "keep one row per image")
    return indices, column
