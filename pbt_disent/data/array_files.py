"""Arrays in files, read a few rows at a time: npy and uncompressed npz mapped, compressed npz unpacked once, HDF5.

Nothing here unpickles. Each class pickles as its path, so that worker processes open the file for themselves.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from pbt_disent.data.source_files import file_fingerprint, read_chunks, reading
from pbt_disent.errors import UserError, nearest
from pbt_disent.files import cache_folder, writing

__all__ = ["Hdf5Rows", "NpyRows", "Rows", "hdf5_shapes", "npz_keys", "npz_rows", "npz_shape", "read_npz"]

AnyArray = npt.NDArray[Any]


class Rows(Protocol):
    """N rows of an array in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (N, ...) of the array in the file."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type of the array in the file."""
        ...

    def read(self, indices: npt.NDArray[np.int64]) -> AnyArray:
        """Return the rows at `indices`, in that order."""
        ...


class NpyRows:
    """An array mapped from a ``.npy`` file, or from an uncompressed member of a ``.npz``.

    Args:
        path: The path of the file.
        start: The offset in bytes of the array's own ``.npy`` header.

    Raises:
        UserError: The file is damaged, or the array is pickled.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path, self._start = path, start
        with reading(path, "is truncated or no array file"):
            with path.open("rb") as file:
                file.seek(start)
                self.shape, is_fortran, self.dtype = _npy_header(file, path)
                offset = file.tell()
            self._array = np.memmap(path, self.dtype, "r", offset, self.shape, "F" if is_fortran else "C")

    def __reduce__(self) -> tuple[type[NpyRows], tuple[Path, int]]:
        return type(self), (self._path, self._start)

    def read(self, indices: npt.NDArray[np.int64]) -> AnyArray:
        """Return a copy of the rows at `indices`."""
        return np.asarray(self._array[indices])


class Hdf5Rows:
    """A data set of an HDF5 file, read in runs of neighbouring rows.

    Args:
        path: The path of the file.
        key: The name of the data set in the file.

    Raises:
        UserError: The file is damaged, or has no data set of that name.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        with reading(path, "is truncated or no HDF5 file"):
            self._file: h5py.File = h5py.File(path, "r")
            if key not in self._file or not isinstance(self._file[key], h5py.Dataset):
                raise UserError(f"key {key!r} of {path}", "is not in the file", nearest(key, hdf5_shapes(path)))
            self._dataset: h5py.Dataset = self._file[key]
            self.shape: tuple[int, ...] = tuple(self._dataset.shape or ())
            self.dtype: np.dtype[Any] = self._dataset.dtype

    def __reduce__(self) -> tuple[type[Hdf5Rows], tuple[Path, str]]:
        return type(self), (self._path, self._key)

    def read(self, indices: npt.NDArray[np.int64]) -> AnyArray:
        """Return the rows at `indices`.

        Raises:
            UserError: The file is damaged there.
        """
        unique, inverse = np.unique(indices, return_inverse=True)
        ends = np.flatnonzero(np.diff(unique, append=-1) != 1) + 1
        start = 0
        with reading(self._path, f"is damaged in {self._key!r}"):
            rows = np.empty((len(unique), *self.shape[1:]), dtype=self.dtype)
            for end in ends:
                rows[start:end] = self._dataset[int(unique[start]) : int(unique[end - 1]) + 1]
                start = int(end)
        return np.asarray(rows[inverse])


def hdf5_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all data sets in an HDF5 file, by name.

    Raises:
        UserError: The file is damaged or no HDF5 file.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with reading(path, "is truncated or no HDF5 file"), h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: shapes.update({name: item.shape or ()}) if isinstance(item, h5py.Dataset) else None
        )
    return shapes


def npz_keys(path: Path) -> list[str]:
    """Return the names of the arrays in an ``.npz`` file.

    Raises:
        UserError: The file is no ``.npz`` file.
    """
    with _open_zip(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def npz_shape(path: Path, key: str) -> tuple[int, ...]:
    """Return the shape of an array of an ``.npz`` file without reading the array.

    Raises:
        UserError: There is no array of that name, it is pickled, or the file is damaged.
    """
    with _open_zip(path) as archive, reading(path, f"is damaged in {key!r}"):
        info = _member(archive, path, key)
        with archive.open(info) as member:
            return _npy_header(member, path)[0]


def read_npz(path: Path, key: str) -> AnyArray:
    """Return a whole array of an ``.npz`` file, for small ones such as labels.

    Raises:
        UserError: There is no array of that name, it is pickled, or the file is damaged.
    """
    with _open_zip(path) as archive, reading(path, f"is damaged in {key!r}"):
        info = _member(archive, path, key)
        with archive.open(info) as member:
            shape, is_fortran, dtype = _npy_header(member, path)
            flat = np.frombuffer(member.read(), dtype)
        return flat.reshape(shape, order="F" if is_fortran else "C")


def npz_rows(path: Path, key: str, cache: Path | None = None) -> NpyRows:
    """Return an array of an ``.npz`` file as rows; a compressed one is unpacked once into the cache.

    Args:
        path: The path of the file.
        key: The name of the array in the file.
        cache: The folder for the unpacked array; see `pbt_disent.files.cache_folder`.

    Raises:
        UserError: There is no array of that name, it is pickled, the file is damaged, or the cache cannot be written.
    """
    with _open_zip(path) as archive:
        info = _member(archive, path, key)
        if info.compress_type == zipfile.ZIP_STORED:
            return NpyRows(path, _member_start(path, info))
        with reading(path, f"is damaged in {key!r}"), archive.open(info) as member:
            _npy_header(member, path)
        unpacked = cache_folder(cache) / f"{file_fingerprint(path)[:32]}-{info.CRC:08x}.npy"
        if not unpacked.exists():
            with writing(unpacked, info.file_size) as temporary, temporary.open("wb") as file:
                file.writelines(read_chunks(path, f"is damaged in {info.filename!r}", lambda: archive.open(info)))
        return NpyRows(unpacked)


def _open_zip(path: Path) -> zipfile.ZipFile:
    with reading(path, "is empty, truncated or no npz file"):
        return zipfile.ZipFile(path)


def _member(archive: zipfile.ZipFile, path: Path, key: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(f"{key}.npy")
    except KeyError as error:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        raise UserError(f"key {key!r} of {path}", "is not in the file", nearest(key, names)) from error


def _member_start(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where an uncompressed member's bytes begin: after its local header of 30 bytes, its name and extras."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
    return info.header_offset + 30 + int(lengths.sum())


def _npy_header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape of an array, whether its first axis is fastest, and its element type."""
    with reading(path, "is empty, truncated or no array file"):
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise UserError(
            f"file {path}", "holds a pickled array, which is never loaded", "save numbers instead of objects"
        )
    return shape, is_fortran, dtype
