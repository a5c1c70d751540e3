"""A folder of pictures, found in all its sub-folders, converted once into a mapped store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pbt_disent.data.base import ImageData
from pbt_disent.data.converted import OnCorrupt, converted
from pbt_disent.data.pictures import SUFFIXES, Header, header
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.storage import Progress
from pbt_disent.errors import UserError

__all__ = ["open_folder"]


def match(path: Path) -> Match:
    """Know a folder by any picture in it."""
    return Match.FORMAT if path.is_dir() and next(_pictures(path), None) is not None else Match.NO


def open_folder(
    path: Path,
    size: int | None = None,
    on_corrupt: OnCorrupt = "refuse",
    cache: Path | str | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Return the pictures of a folder in the order of their names.

    Args:
        path: the folder.
        size: height and width of the result, by the rule of `pbt_disent.data.pictures`; None keeps theirs.
        on_corrupt: what to do with a picture that cannot be read: ``refuse`` or ``skip``.
        cache: folder for the converted pictures.
        progress: called with pictures done and to do.

    Raises:
        UserError: no pictures, one that cannot be read, mixed sizes without `size`.
    """
    folder = _Folder(path)
    key = {"folder": str(path.resolve()), "files": [[name, *folder.stamp(name)] for name in folder.names]}
    return converted(
        path.resolve().name, key, lambda: folder, size=size, on_corrupt=on_corrupt, cache=cache, progress=progress
    )


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.names = sorted(picture.relative_to(path).as_posix() for picture in _pictures(path))
        if not self.names:
            raise UserError(f"folder {path}", f"holds no pictures ({', '.join(SUFFIXES)})", "give another folder")

    def stamp(self, name: str) -> tuple[int, int]:
        """Return what changes when the picture does: its length and time of change."""
        try:
            known = (self._path / name).stat()
        except OSError as error:
            raise UserError(f"picture {name}", f"cannot be read ({error.strerror})", "mend or remove it") from error
        return known.st_size, known.st_mtime_ns

    def read(self, index: int) -> bytes:
        """Return the bytes of one picture."""
        try:
            return (self._path / self.names[index]).read_bytes()
        except OSError as error:
            raise UserError(f"picture {self.names[index]}", f"cannot be read ({error.strerror})", "allow it") from error


def _pictures(path: Path) -> Iterator[Path]:
    """Yield the pictures below a folder; names that begin with a dot are not looked at."""
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)


def _first(path: Path) -> Header:
    folder = _Folder(path)
    return header(folder.names[0], folder.read(0))


READERS.register("folder")(Reader("a folder of png, jpeg, bmp or webp pictures", match, open_folder, first=_first))
