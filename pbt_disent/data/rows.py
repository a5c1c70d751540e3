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

from pbt_disent.data.damage import parts, reading
from pbt_disent.data.fingerprint import file_fingerprint
from pbt_disent.errors import UserError, nearest
from pbt_disent.files import cache_folder, writing

__all__ = ["Hdf5Rows", "NpyRows", "Rows", "hdf5_shapes", "npz_keys", "npz_rows", "npz_shape", "read_npz"]

AnyArray = npt.NDArray[Any]


class Rows(Protocol):
    """N rows of an array in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...) as in the file."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type as in the file."""
        ...

    def read(self, indices: npt.NDArray[np.int64]) -> AnyArray:
        """Return the rows at `indices`, in that order."""
        ...


class NpyRows:
    """An array mapped from a ``.npy`` file, or from an uncompressed member of a ``.npz``.

    Args:
        path: the file.
        start: where in the file the array's own ``.npy`` header begins.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path, self._start = path, start
        with reading(path, "is truncated or no array file"):
            with path.open("rb") as file:
                file.seek(start)
                self.shape, fortran, self.dtype = _npy_header(file, path)
                offset = file.tell()
            self._array = np.memmap(path, self.dtype, "r", offset, self.shape, "F" if fortran else "C")

    def __reduce__(self) -> tuple[type[NpyRows], tuple[Path, int]]:
        return type(self), (self._path, self._start)

    def read(self, indices: npt.NDArray[np.int64]) -> AnyArray:
        """Return a copy of the rows at `indices`."""
        return np.asarray(self._array[indices])


class Hdf5Rows:
    """A data set of an HDF5 file, read in runs of neighbouring rows.

    Args:
        path: the file.
        key: the data set's name in it.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        with reading(path, "is truncated or no HDF5 file"):
            self._file: h5py.File = h5py.File(path, "r")
            if not isinstance(key, str) or key not in self._file or not isinstance(self._file[key], h5py.Dataset):
                raise UserError(f"key {key!r} of {path}", "is not in the file", nearest(key, hdf5_shapes(path)))
            self._set: h5py.Dataset = self._file[key]
            self.shape: tuple[int, ...] = tuple(self._set.shape or ())
            self.dtype: np.dtype[Any] = self._set.dtype

    def __reduce__(self) -> tuple[type[Hdf5Rows], tuple[Path, str]]:
        return type(self), (self._path, self._key)

    def read(self, indices: npt.NDArray[np.int64]) -> AnyArray:
        """Return the rows at `indices`.

        Raises:
            UserError: the file is damaged there.
        """
        wanted, back = np.unique(indices, return_inverse=True)
        ends = np.flatnonzero(np.diff(wanted, append=-1) != 1) + 1
        start = 0
        with reading(self._path, f"is damaged in {self._key!r}"):
            found = np.empty((len(wanted), *self.shape[1:]), dtype=self.dtype)
            for end in ends:
                found[start:end] = self._set[int(wanted[start]) : int(wanted[end - 1]) + 1]
                start = int(end)
        return np.asarray(found[back])


def hdf5_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all data sets in an HDF5 file, by name.

    Raises:
        UserError: it is none, or is damaged.
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
        UserError: it is none.
    """
    with _open_zip(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def npz_shape(path: Path, key: str) -> tuple[int, ...]:
    """Return the shape of an array of an ``.npz`` file without reading the array.

    Raises:
        UserError: there is none of that name, it is pickled, or the file is damaged.
    """
    with _open_zip(path) as archive, reading(path, f"is damaged in {key!r}"):
        info = _member(archive, path, key)
        with archive.open(info) as member:
            return _npy_header(member, path)[0]


def read_npz(path: Path, key: str) -> AnyArray:
    """Return a whole array of an ``.npz`` file, for small ones such as labels.

    Raises:
        UserError: there is none of that name, it is pickled, or the file is damaged.
    """
    with _open_zip(path) as archive, reading(path, f"is damaged in {key!r}"):
        info = _member(archive, path, key)
        with archive.open(info) as member:
            shape, fortran, dtype = _npy_header(member, path)
            flat = np.frombuffer(member.read(), dtype)
        return flat.reshape(shape, order="F" if fortran else "C")


def npz_rows(path: Path, key: str, cache: Path | str | None = None) -> NpyRows:
    """Return an array of an ``.npz`` file as rows; a compressed one is unpacked once into the cache folder.

    Raises:
        UserError: there is none of that name, it is pickled, the file is damaged, or the cache cannot be written.
    """
    with _open_zip(path) as archive:
        info = _member(archive, path, key)
        if info.compress_type == zipfile.ZIP_STORED:
            return NpyRows(path, _start_of(path, info))
        with reading(path, f"is damaged in {key!r}"), archive.open(info) as member:
            _npy_header(member, path)
        folder = cache_folder(cache)
        name = f"{file_fingerprint(path)[:32]}-{info.CRC:08x}.npy"
        if not (folder / name).exists():
            with writing(folder / name, info.file_size) as temporary:
                _unpack(archive, info, path, temporary)
        return NpyRows(folder / name)


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, to: Path) -> None:
    with to.open("wb") as file:
        file.writelines(parts(path, f"is damaged in {info.filename!r}", lambda: archive.open(info)))


def _open_zip(path: Path) -> zipfile.ZipFile:
    with reading(path, "is empty, truncated or no npz file"):
        return zipfile.ZipFile(path)


def _member(archive: zipfile.ZipFile, path: Path, key: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(f"{key}.npy")
    except KeyError as error:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        raise UserError(f"key {key!r} of {path}", "is not in the file", nearest(key, names)) from error


def _start_of(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where an uncompressed member's bytes begin: after its local header of 30 bytes, its name and extras."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
    return info.header_offset + 30 + int(lengths.sum())


def _npy_header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with reading(path, "is empty, truncated or no array file"):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise UserError(
            f"file {path}", "holds a pickled array, which is never loaded", "save numbers instead of objects"
        )
    return shape, fortran, dtype
