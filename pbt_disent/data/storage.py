"""Images written once per node and mapped into memory by every process that reads them.

A store is a folder with one uint8 ``.npy`` file (N, C, H, W) and a sidecar ``images.json`` that is written last and
names it. Factors are not stored: evaluation asks the set that the images came from, or counts them from the indices
where that set is a whole grid, which the sidecar says.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from pbt_disent.data.base import ImageData, Indices, as_indices
from pbt_disent.data.damage import DAMAGE
from pbt_disent.data.labels import Labelled
from pbt_disent.data.world import World
from pbt_disent.errors import UserError
from pbt_disent.files import writing
from pbt_disent.types import Json, UInt8Array

__all__ = ["SIDECAR", "Progress", "StoredImages", "describe_store", "materialise"]

SIDECAR = "images.json"
FORMAT = "pbt-disent images"
VERSION = 1
CHUNK_BYTES = 8 << 20
REMEDY = "delete the folder and let it be written again"

Progress = Callable[[int, int], None]


class StoredImages:
    """The images of a store, mapped read-only; pickles as its path, so that each process maps the same pages.

    Args:
        folder: the store.

    Attributes:
        array: (N, C, H, W) the mapped images.
        whole_grid: the images are every combination of the factors once, the last factor fastest.

    Raises:
        UserError: the folder is no store, is damaged, or was written by a later version.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        described = _read_sidecar(self.folder)
        try:
            self.name = str(described["name"])
            self.fingerprint = str(described["fingerprint"])
            channels, height, width = described["shape"]
            self.factor_names: tuple[str, ...] = tuple(described["factor_names"])
            self.factor_sizes: tuple[int, ...] = tuple(described["factor_sizes"])
            self.whole_grid = bool(described.get("whole_grid"))
            path = self.folder / str(described["file"])
            self.array = np.lib.format.open_memmap(path, mode="r")
            fits = self.array.dtype == np.uint8 and self.array.shape == (described["length"], channels, height, width)
        except DAMAGE as error:
            raise UserError(f"image store {self.folder}", f"is damaged ({error})", REMEDY) from error
        if not fits:
            raise UserError(f"image store {self.folder}", f"{path.name} does not fit {SIDECAR}", REMEDY)
        self.shape: tuple[int, int, int] = (channels, height, width)

    @classmethod
    def open(cls, folder: Path | str) -> StoredImages:
        """Return the store in `folder`."""
        return cls(folder)

    def __reduce__(self) -> tuple[type[StoredImages], tuple[Path]]:
        return type(self), (self.folder,)

    def __len__(self) -> int:
        return len(self.array)

    def images(self, indices: Indices) -> UInt8Array:
        """Return a copy of the images at `indices`, (N, C, H, W)."""
        return np.asarray(self.array[as_indices(indices, len(self))])

    def factors(self, indices: Indices) -> None:
        """Return None: a store holds images only."""
        as_indices(indices, len(self))


def materialise(
    data: ImageData, folder: Path | str, progress: Progress | None = None, processes: int = 1
) -> StoredImages:
    """Write all images of `data` into a store, or return the one that is there if it holds the same images.

    Nothing but a complete store is ever seen at `folder`; a store of other images there is replaced. Images that lie in
    a store elsewhere on the same disk are linked to, not copied; they stay when that store is deleted.

    Args:
        data: the images; picklable where `processes` is more than one.
        folder: where the store is to be.
        progress: called with the number of images written and to write, now and then and at the end.
        processes: how many processes draw or read images.

    Raises:
        UserError: the folder cannot be written, or the disk is too small.
    """
    folder = Path(folder)
    if _holds(folder, data.fingerprint):
        return StoredImages(folder)
    row = math.prod(data.shape)
    name = f"images-{data.fingerprint[:16]}.npy"
    if _linked(data, folder, name):
        describe_store(folder, name, data, len(data))
        return StoredImages(folder)
    with writing(folder / name, len(data) * row) as temporary:
        with temporary.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(data), *data.shape)}
            np.lib.format.write_array_header_1_0(file, header)
            offset = file.tell()
        _write_rows(data, temporary, offset, progress or _silent, processes)
    describe_store(folder, name, data, len(data))
    return StoredImages(folder)


def describe_store(folder: Path, file: str, data: ImageData, length: int) -> None:
    """Write the sidecar that makes a store out of `file`, and remove the file of the store that was there before."""
    described: Json = {
        "format": FORMAT,
        "version": VERSION,
        "name": data.name,
        "fingerprint": data.fingerprint,
        "length": length,
        "shape": list(data.shape),
        "factor_names": list(data.factor_names),
        "factor_sizes": list(data.factor_sizes),
        "whole_grid": isinstance(data, World),
        "file": file,
    }
    earlier = _earlier_file(folder)
    text = json.dumps(described, indent=2) + "\n"
    with writing(folder / SIDECAR, len(text)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if earlier is not None and earlier.name != file:
        earlier.unlink(missing_ok=True)


def _read_sidecar(folder: Path) -> Json:
    try:
        described: Json = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"folder {folder}", f"is no image store (it has no {SIDECAR})", "give a rendered one"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"image store {folder}", f"has an unreadable {SIDECAR} ({error})", REMEDY) from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise UserError(f"folder {folder}", f"its {SIDECAR} is not one of an image store", "give a rendered one")
    if described.get("version") != VERSION:
        raise UserError(
            f"image store {folder}", f"has format version {described.get('version')}, not {VERSION}", REMEDY
        )
    return described


def _holds(folder: Path, fingerprint: str) -> bool:
    try:
        return StoredImages(folder).fingerprint == fingerprint
    except UserError:
        return False


def _linked(data: ImageData, folder: Path, name: str) -> bool:
    """Link to the images as ``folder/name`` if they lie in a store already and the disk allows it."""
    stored = data.data if isinstance(data, Labelled) else data
    if not isinstance(stored, StoredImages) or not os.access(str(stored.array.filename), os.W_OK):
        return False
    try:
        with writing(folder / name, 0) as temporary:
            temporary.unlink()
            os.link(str(stored.array.filename), temporary)
    except (OSError, UserError):
        return False
    return True


def _earlier_file(folder: Path) -> Path | None:
    """Return the images of the store in `folder`, if it is a sound one."""
    try:
        return Path(str(StoredImages(folder).array.filename))
    except UserError:
        return None


def _silent(done: int, total: int) -> None:
    """Report nothing."""


def _write_rows(data: ImageData, path: Path, offset: int, progress: Progress, processes: int) -> None:
    rows = max(1, CHUNK_BYTES // math.prod(data.shape))
    starts = range(0, len(data), rows)
    writer = _RowWriter(data, path, offset, rows)
    done = 0
    if processes == 1:
        for start in starts:
            done += writer(start)
            progress(done, len(data))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_remember, initargs=(writer,)) as pool:
        try:
            for written in pool.map(_write_remembered, starts):
                done += written
                progress(done, len(data))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class _RowWriter:
    """Writes a run of images to its place in the file. Written, not mapped: a full disk must be an error, no signal."""

    def __init__(self, data: ImageData, path: Path, offset: int, rows: int) -> None:
        self.data, self.path, self.offset, self.rows = data, path, offset, rows

    def __call__(self, start: int) -> int:
        stop = min(start + self.rows, len(self.data))
        images = np.ascontiguousarray(self.data.images(np.arange(start, stop)))
        with self.path.open("rb+") as file:
            file.seek(self.offset + start * math.prod(self.data.shape))
            file.write(images.data)
        return stop - start


_remembered: list[_RowWriter] = []


def _remember(writer: _RowWriter) -> None:
    """Keep the writer in a process of the pool, so that the data travels there once."""
    _remembered[:] = [writer]


def _write_remembered(start: int) -> int:
    return _remembered[0](start)
