"""What readers of other people's formats raise when a file is damaged, turned into one clear error."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from pbt_disent.errors import UserError

__all__ = ["DAMAGE", "WHOLE", "parts", "reading"]

WHOLE = "download or write it again"

DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    OverflowError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    pa.ArrowException,
)
"""A flipped bit in a header makes zipfile, numpy, h5py, pyarrow, Pillow and scipy raise any of these."""


@contextmanager
def reading(
    path: Path | str, what: str, remedy: str = WHOLE, *, kind: str = "file", also: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Say which file is damaged, and how, if the reading within fails.

    Args:
        path: the file.
        what: what is wrong with it then (``is truncated or no HDF5 file``).
        remedy: what to do.
        kind: what to call it.
        also: what a format's own library raises besides `DAMAGE`.

    Raises:
        UserError: the reading failed, or found something wrong by itself.
    """
    try:
        yield
    except UserError:
        raise
    except (*DAMAGE, *also) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{kind} {path}", f"{what} ({reason})", remedy) from error


class Packed(Protocol):
    """An open file that unpacks itself."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


def parts(path: Path, what: str, source: Callable[[], Packed]) -> Iterator[bytes]:
    """Yield what is packed in a file, a MiB at a time; errors of whoever writes the parts elsewhere stay theirs.

    Args:
        path: the packed file.
        what: what is wrong with it if it cannot be unpacked.
        source: opens the packed bytes.

    Raises:
        UserError: the file is damaged.
    """
    with reading(path, what):
        opened = source()
    with closing(opened):
        while True:
            with reading(path, what):
                part = opened.read(1 << 20)
            if not part:
                return
            yield part
