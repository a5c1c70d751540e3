"""The files that images come from: their identity, and one clear error where they are damaged."""

from __future__ import annotations

import hashlib
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

__all__ = ["READ_ERRORS", "SupportsRead", "file_fingerprint", "read_chunks", "reading"]

READ_ERRORS: tuple[type[Exception], ...] = (
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

FULLY_HASHED_BYTES = 256 << 20
NUM_BLOCKS = 256
BLOCK_BYTES = 1 << 18
CHUNK_BYTES = 1 << 20


@contextmanager
def reading(
    path: Path | str,
    problem: str,
    remedy: str = "download or write it again",
    *,
    kind: str = "file",
    also: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Name the damaged file, and its damage, if reading it within the block fails.

    Args:
        path: The path or the name of the file.
        problem: What is wrong with the file then, such as ``is truncated or no HDF5 file``.
        remedy: What the user can do.
        kind: What to call the file.
        also: What the library of a format raises besides `READ_ERRORS`.

    Raises:
        UserError: The block failed, or raised a `UserError` itself.
    """
    try:
        yield
    except UserError:
        raise
    except (*READ_ERRORS, *also) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{kind} {path}", f"{problem} ({reason})", remedy) from error


class SupportsRead(Protocol):
    """An open file that decompresses itself."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def read_chunks(path: Path, problem: str, open_file: Callable[[], SupportsRead]) -> Iterator[bytes]:
    """Yield the decompressed content of a file, a MiB at a time.

    Only errors of reading are taken for damage, not those of whoever writes the chunks elsewhere.

    Args:
        path: The path of the compressed file.
        problem: What is wrong with the file if it cannot be decompressed.
        open_file: A function that opens the decompressed content.

    Raises:
        UserError: The file is damaged.
    """
    with reading(path, problem):
        file = open_file()
    with closing(file):
        while True:
            with reading(path, problem):
                chunk = file.read(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk


def file_fingerprint(path: Path) -> str:
    """Return an identity of a file's content that is quick to compute for large files too.

    Up to 256 MiB it is the SHA-256 of the file. Beyond that it covers the length and 256 evenly spaced blocks with
    both ends; a zip archive (npz) is still told apart by any byte, since its end holds checksums of all its members.
    """
    size = path.stat().st_size
    if size <= FULLY_HASHED_BYTES:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256(f"sampled:{size}".encode())
    with path.open("rb") as file:
        for block in range(NUM_BLOCKS):
            file.seek(block * (size - BLOCK_BYTES) // (NUM_BLOCKS - 1))
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()
