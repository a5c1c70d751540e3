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
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from pbt_disent.data.base import ImageData, Indices, ProgressCallback, as_indices
from pbt_disent.data.labels import LabelledImages
from pbt_disent.data.source_files import READ_ERRORS
from pbt_disent.data.worlds import World
from pbt_disent.errors import UserError
from pbt_disent.files import writing
from pbt_disent.types import Json, UInt8Array

__all__ = ["SIDECAR", "StoredImages", "describe_store", "materialise"]

SIDECAR = "images.json"
FORMAT = "pbt-disent images"
VERSION = 1
CHUNK_BYTES = 8 << 20
REMEDY = "delete the folder and let it be written again"


class StoredImages:
    """The images of a store, mapped read-only; pickles as its path, so that each process maps the same pages.

    Args:
        folder: The folder of the store.

    Attributes:
        array: The mapped images, (N, C, H, W).
        is_whole_grid: Whether the images are every combination of the factors once, the last factor fastest.

    Raises:
        UserError: The folder is no store, is damaged, or was written by another version.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        sidecar = _read_sidecar(self.folder)
        try:
            self.name = str(sidecar["name"])
            self.fingerprint = str(sidecar["fingerprint"])
            channels, height, width = sidecar["shape"]
            self.factor_names: tuple[str, ...] = tuple(sidecar["factor_names"])
            self.factor_sizes: tuple[int, ...] = tuple(sidecar["factor_sizes"])
            self.is_whole_grid = bool(sidecar.get("whole_grid"))
            path = self.folder / str(sidecar["file"])
            self.array = np.lib.format.open_memmap(path, mode="r")
            shape = (sidecar["length"], channels, height, width)
            is_consistent = self.array.dtype == np.uint8 and self.array.shape == shape
        except READ_ERRORS as error:
            raise UserError(f"image store {self.folder}", f"is damaged ({error})", REMEDY) from error
        if not is_consistent:
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
    data: ImageData, folder: Path | str, progress: ProgressCallback | None = None, processes: int = 1
) -> StoredImages:
    """Write all images of `data` into a store, or return the one that is there if it holds the same images.

    Nothing but a complete store is ever seen at `folder`; a store of other images there is replaced. Images that lie in
    a store elsewhere on the same disk are linked to, not copied; they stay when that store is deleted.

    Args:
        data: The images. They must be picklable where `processes` is more than one.
        folder: The folder of the store.
        progress: Called with the number of images written and to write, now and then and at the end.
        processes: The number of processes that draw or read images.

    Raises:
        UserError: The folder cannot be written, or the disk is too small.

    Example:
        >>> import tempfile
        >>> from pbt_disent.data import load
        >>> stored = materialise(load("sprites", size=16, grid={"x": 4, "y": 4, "orientation": 1}), tempfile.mkdtemp())
        >>> stored.array.shape
        (288, 1, 16, 16)
    """
    folder = Path(folder)
    if _stored_fingerprint(folder) == data.fingerprint:
        return StoredImages(folder)
    image_bytes = math.prod(data.shape)
    name = f"images-{data.fingerprint[:16]}.npy"
    if _try_link(data, folder, name):
        describe_store(folder, name, data, len(data))
        return StoredImages(folder)
    with writing(folder / name, len(data) * image_bytes) as temporary:
        with temporary.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(data), *data.shape)}
            np.lib.format.write_array_header_1_0(file, header)
            offset = file.tell()
        _write_rows(data, temporary, offset, progress or (lambda done, total: None), processes)
    describe_store(folder, name, data, len(data))
    return StoredImages(folder)


def describe_store(folder: Path, file: str, data: ImageData, length: int) -> None:
    """Write the sidecar that makes a store out of `file`, and remove the images of the store that was there before."""
    sidecar: Json = {
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
    earlier = _stored_file(folder)
    text = json.dumps(sidecar, indent=2) + "\n"
    with writing(folder / SIDECAR, len(text)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if earlier is not None and earlier.name != file:
        earlier.unlink(missing_ok=True)


def _read_sidecar(folder: Path) -> Json:
    try:
        sidecar: Json = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"folder {folder}", f"is no image store (it has no {SIDECAR})", "give a rendered one"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"image store {folder}", f"has an unreadable {SIDECAR} ({error})", REMEDY) from error
    if not isinstance(sidecar, dict) or sidecar.get("format") != FORMAT:
        raise UserError(f"folder {folder}", f"its {SIDECAR} is not one of an image store", "give a rendered one")
    if sidecar.get("version") != VERSION:
        raise UserError(f"image store {folder}", f"has format version {sidecar.get('version')}, not {VERSION}", REMEDY)
    return sidecar


def _stored_fingerprint(folder: Path) -> str | None:
    try:
        return StoredImages(folder).fingerprint
    except UserError:
        return None


def _stored_file(folder: Path) -> Path | None:
    """Return the file with the images of the store in `folder`, if it is an intact one."""
    try:
        return Path(str(StoredImages(folder).array.filename))
    except UserError:
        return None


def _try_link(data: ImageData, folder: Path, name: str) -> bool:
    """Link to the images as ``folder/name`` if they lie in a store already and the disk allows it."""
    stored = data.data if isinstance(data, LabelledImages) else data
    if not isinstance(stored, StoredImages) or not os.access(str(stored.array.filename), os.W_OK):
        return False
    try:
        with writing(folder / name, 0) as temporary:
            temporary.unlink()
            os.link(str(stored.array.filename), temporary)
    except (OSError, UserError):
        return False
    return True


def _write_rows(data: ImageData, path: Path, offset: int, progress: ProgressCallback, processes: int) -> None:
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
    with ProcessPoolExecutor(processes, context, initializer=_set_writer, initargs=(writer,)) as pool:
        try:
            for written in pool.map(_write_in_process, starts):
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


_process_writer: list[_RowWriter] = []


def _set_writer(writer: _RowWriter) -> None:
    """Keep the writer in a process of the pool, so that the data travels there once."""
    _process_writer[:] = [writer]


def _write_in_process(start: int) -> int:
    return _process_writer[0](start)
