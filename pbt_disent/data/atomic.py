"""Writing a file so that a reader sees all of it or nothing."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pbt_disent.errors import UserError

__all__ = ["writing"]

ABANDONED_SECONDS = 3600.0
UNFINISHED = ".pbt-disent-"
ELSEWHERE = "make room or choose another folder (PBT_DISENT_CACHE names the one for converted images)"
FORBIDDEN = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP
)  # fmt: skip
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(folder: Path, size: int, name: str) -> Iterator[Path]:
    """Give a path to write `size` bytes to, which becomes ``folder/name`` at the end, or vanishes on any error.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    temporary = folder / f"{UNFINISHED}{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _forget_abandoned(folder)
        free = shutil.disk_usage(folder).free
        if free < size:
            raise UserError(
                f"folder {folder}", f"has {free / 1e9:.1f} GB free where {size / 1e9:.1f} GB are needed", ELSEWHERE
            )
        temporary.touch()
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(folder / name)
        _sync_folder(folder)
    except OSError as error:
        if error.errno in FORBIDDEN:
            raise UserError(f"folder {folder}", f"cannot be written ({error.strerror})", ELSEWHERE) from error
        if error.errno in FULL:
            raise UserError(f"folder {folder}", f"has no room left ({error.strerror})", ELSEWHERE) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def _forget_abandoned(folder: Path) -> None:
    """Remove what a killed writer left: unfinished files that nobody has written to for an hour."""
    for left in folder.glob(f"{UNFINISHED}*.tmp"):
        with suppress(FileNotFoundError):  # another writer has finished it since
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                left.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename last over a loss of power, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
