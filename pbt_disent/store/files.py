"""Files that are whole or absent, whatever happens to the process or the machine."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pbt_disent.errors import PbtDisentError

__all__ = [
    "REMEDIES",
    "AlreadyCommitted",
    "StorageFailed",
    "commit_document",
    "explained",
    "free_bytes",
    "write_atomically",
]

READABLE = 0o644
"""Permissions of what is written: temporary files start closed to everyone else."""


class AlreadyCommitted(PbtDisentError):
    """A document of that name exists and holds something else: two writers worked on one run."""


class StorageFailed(PbtDisentError):
    """What a run is kept on cannot be read or written; nothing that was committed is lost."""


REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "see to its permissions",
}


def explained(error: OSError) -> StorageFailed:
    """Say in one line what is wrong with the storage, and what to do."""
    reason = " ".join((error.strerror or str(error)).split())
    where = f"{error.filename}: " if error.filename else ""
    remedy = REMEDIES.get(error.errno or 0, "see to the storage")
    return StorageFailed(f"{where}{reason}; {remedy}, then resume: every committed generation is safe")


def free_bytes(path: Path) -> int:
    """Return how many bytes the file system of a path can still take, whether the path exists yet or not."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file, over another one if need be.

    Args:
        path: of the file; its folder is created.
        content: all of it.
        durable: whether it must survive a power loss from now on.
    """
    with _temporary(path.parent, content, durable) as temporary:
        temporary.replace(path)


def commit_document(path: Path, content: bytes) -> None:
    """Write a file once, durably and never over another one; writing the same bytes again is no error.

    The finished temporary file is linked to its name, which fails when the name is taken: a second writer, or a late
    one, cannot replace what is there.

    Raises:
        AlreadyCommitted: the name is taken by other bytes.
    """
    with _temporary(path.parent, content, durable=True) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            if path.read_bytes() != content:
                raise AlreadyCommitted(f"{path} is already committed with other content") from None


@contextlib.contextmanager
def _temporary(folder: Path, content: bytes, durable: bool) -> Iterator[Path]:
    """Write a temporary file for the block to move or link into place; sync the folder when it has."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), READABLE)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        yield Path(name)
    except OSError as error:
        error.filename = error.filename or str(folder)  # writing knows no name
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
    if durable:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
