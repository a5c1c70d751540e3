"""A folder of pictures, found in all its sub-folders, converted once into a mapped store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pbt_disent.data.pictures import SUFFIXES, PictureHeader, read_header
from pbt_disent.data.readers import READERS, Match, PictureReader
from pbt_disent.errors import UserError
from pbt_disent.types import Json

__all__ = ["Folder"]


@READERS.register("folder")
class Folder(PictureReader):
    """The pictures of a folder in the order of their names; names that begin with a dot are ignored."""

    formats = "a folder of png, jpeg, bmp or webp pictures"

    @classmethod
    def match(cls, path: Path) -> Match:
        """Know a folder by any picture in it."""
        return Match.FORMAT if path.is_dir() and next(_pictures(path), None) is not None else Match.NO

    def set_name(self, path: Path) -> str:
        """Return the name of the folder."""
        return path.resolve().name

    def key(self, path: Path) -> Json:
        """Return the names, lengths and times of change of the pictures."""
        source = self.source(path)
        return {"folder": str(path.resolve()), "files": [[name, *source.stamp(name)] for name in source.names]}

    def source(self, path: Path) -> _FolderSource:
        """Return the encoded pictures."""
        return _FolderSource(path)

    def first_picture(self, path: Path) -> PictureHeader:
        """Return the header of the first picture."""
        source = self.source(path)
        return read_header(source.names[0], source.read(0))


class _FolderSource:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.names = sorted(picture.relative_to(path).as_posix() for picture in _pictures(path))
        if not self.names:
            raise UserError(f"folder {path}", f"holds no pictures ({', '.join(SUFFIXES)})", "give another folder")

    def stamp(self, name: str) -> tuple[int, int]:
        """Return what changes when the picture does: its length and time of change."""
        try:
            status = (self._path / name).stat()
        except OSError as error:
            raise UserError(f"picture {name}", f"cannot be read ({error.strerror})", "repair or remove it") from error
        return status.st_size, status.st_mtime_ns

    def read(self, index: int) -> bytes:
        """Return the content of one picture."""
        try:
            return (self._path / self.names[index]).read_bytes()
        except OSError as error:
            raise UserError(f"picture {self.names[index]}", f"cannot be read ({error.strerror})", "allow it") from error


def _pictures(path: Path) -> Iterator[Path]:
    """Yield the pictures below a folder."""
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)
