"""Files that are whole or absent, whatever happens to the process or the machine; logs in JSON lines; the cache.

Whatever is written here is written to a temporary file beside its place, synced, and renamed (or linked) when it is
complete, so that a reader sees all of it or nothing.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.types import Json

__all__ = [
    "REMEDIES",
    "UNFINISHED",
    "AlreadyCommitted",
    "JsonLine",
    "StorageFailed",
    "cache_folder",
    "commit_document",
    "free_bytes",
    "is_unfinished",
    "json_lines",
    "read_json_lines",
    "storage_failure",
    "write_atomically",
    "writing",
]

UNFINISHED = ".pbt-disent-*.tmp"
"""The pattern of the names of temporary files; a writer that was killed leaves one behind."""

ABANDONED_SECONDS = 3600.0
LONGEST_NAME = 255
"""Bytes in the name of a file, on most systems."""

FORBIDDEN = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP
)  # fmt: skip
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ELSEWHERE = "make room or choose another folder (PBT_DISENT_CACHE names the one for converted images)"
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "check its permissions",
}


class AlreadyCommitted(PbtDisentError):
    """A document of that name exists and holds something else: two writers worked on one run."""


class StorageFailed(PbtDisentError):
    """What a run is kept on cannot be read or written; nothing that was committed is lost."""


def storage_failure(error: OSError) -> StorageFailed:
    """Return the error that says in one line what is wrong with a run's storage, and what to do."""
    reason = " ".join((error.strerror or str(error)).split())
    where = f"{error.filename}: " if error.filename else ""
    remedy = REMEDIES.get(error.errno or 0, "check the storage")
    return StorageFailed(f"{where}{reason}; {remedy}, then resume: every committed generation is safe")


def free_bytes(path: Path) -> int:
    """Return how many bytes the file system of a path can still take, whether the path exists yet or not."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def is_unfinished(path: Path) -> bool:
    """Return whether a file is a temporary one, which its writer has not finished yet."""
    return path.match(UNFINISHED)


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file, in place of an existing one if there is one.

    Args:
        path: The path of the file. Its folder is created.
        content: The whole content of the file.
        durable: Whether the file must survive a power loss from now on.
    """
    with _temporary(path.parent, durable) as temporary:
        temporary.write_bytes(content)
        if durable:
            _sync(temporary)
        temporary.replace(path)


def commit_document(path: Path, content: bytes) -> None:
    """Write a file once, durably and never over another one; writing the same bytes again is no error.

    The finished temporary file is linked to its name, which fails when the name is taken: a second writer, or a late
    one, cannot replace what is there.

    Args:
        path: The path of the file. Its folder is created.
        content: The whole content of the file.

    Raises:
        AlreadyCommitted: The name is taken by a file with other bytes.
    """
    with _temporary(path.parent) as temporary:
        temporary.write_bytes(content)
        _sync(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            if path.read_bytes() != content:
                raise AlreadyCommitted(f"{path} is already committed with other content") from None


@contextmanager
def writing(path: Path, size: int) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes `path` at the end of the block, or vanishes on any error.

    Args:
        path: The path of the file. Its folder is created, and cleared of what killed writers left in it.
        size: The number of bytes that will be written.

    Raises:
        UserError: The folder cannot be written, or its disk has no room for `size` bytes.
    """
    folder = path.parent
    try:
        with _temporary(folder) as temporary:
            _remove_abandoned(folder)
            free = free_bytes(folder)
            if free < size:
                raise UserError(
                    f"folder {folder}", f"has {free / 1e9:.1f} GB free where {size / 1e9:.1f} GB are needed", ELSEWHERE
                )
            yield temporary
            _sync(temporary)
            temporary.replace(path)
    except OSError as error:
        if error.errno in FORBIDDEN:
            raise UserError(f"folder {folder}", f"cannot be written ({error.strerror})", ELSEWHERE) from error
        if error.errno in FULL:
            raise UserError(f"folder {folder}", f"has no room left ({error.strerror})", ELSEWHERE) from error
        raise


@contextmanager
def _temporary(folder: Path, durable: bool = True) -> Iterator[Path]:
    """Give an empty temporary file for the block to write and to move or link into place; sync the folder then."""
    temporary = folder / UNFINISHED.replace("*", secrets.token_hex(8))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
    except OSError as error:
        error.filename = error.filename or str(folder)  # writing knows no name
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()
    if durable and os.name == "posix":
        _sync(folder)


def _sync(path: Path) -> None:
    """Make a file's content, or a folder's list of names, last over a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed writers left: unfinished files that nobody has written to for an hour."""
    for path in folder.glob(UNFINISHED):
        with suppress(FileNotFoundError):  # another writer has finished it since
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()


class JsonLine(NamedTuple):
    """One whole line of a file of JSON lines.

    Attributes:
        content: The object in the line, or None if the line is damaged.
        end: The offset in bytes of the end of the line.
    """

    content: Json | None
    end: int


def json_lines(path: Path, start: int = 0) -> Iterator[JsonLine]:
    """Yield the whole lines of a file of JSON objects; a last line that has no end is not there yet.

    Args:
        path: The path of the file, which may be growing and need not exist.
        start: The offset in bytes at which to begin.
    """
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return
    with file:
        file.seek(start)
        end = start
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                content = json.loads(line)
            except ValueError:
                content = None
            yield JsonLine(content if isinstance(content, dict) else None, end)


def read_json_lines(path: Path) -> list[Json]:
    r"""Return the objects in a file of JSON lines, without damaged lines; an empty list if there is no file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> _ = path.write_text('{"event": "born"}\n{"event": "tra')
        >>> read_json_lines(path)
        [{'event': 'born'}]
    """
    return [line.content for line in json_lines(path) if line.content is not None]


def cache_folder(folder: Path | str | None = None) -> Path:
    """Return the folder for everything that can be made again, which may not exist yet.

    Args:
        folder: The folder that the caller asked for. By default it is the one that PBT_DISENT_CACHE names, then the
            user's own cache folder.

    Raises:
        UserError: `folder` is not a path.
    """
    if folder is not None:
        if not isinstance(folder, str | Path):
            raise UserError(f"cache {folder!r}", "must be a folder", "leave it out")
        if max(map(len, Path(folder).parts), default=0) > LONGEST_NAME:
            raise UserError(f"cache {str(folder)[:40]}...", "has too long a name", "leave it out")
        return Path(folder).expanduser()
    if named := os.environ.get("PBT_DISENT_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "pbt-disent"
