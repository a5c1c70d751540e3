"""Content-addressed blobs: what is written is named by its SHA-256 and checked again when it is read."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pbt_disent.errors import PbtDisentError
from pbt_disent.store.files import write_atomically

__all__ = ["BlobStore", "CorruptBlob"]


class CorruptBlob(PbtDisentError):
    """A blob is missing, or its bytes no longer match its digest."""


class BlobStore:
    """Blobs in a folder, two levels deep (``ab/cdef...``). Safe for many writers: equal content has equal names.

    Args:
        root: folder that holds the blobs; created at the first write.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def _path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest[2:]

    def put(self, content: bytes) -> str:
        """Store bytes and return their digest (64 hexadecimal digits); storing them again costs one look-up."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        if not path.exists():
            write_atomically(path, content)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of a blob.

        Raises:
            CorruptBlob: it is missing or damaged.
        """
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise CorruptBlob(f"blob {digest[:12]} is missing from {self.root}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptBlob(f"blob {digest[:12]} in {self.root} is damaged: its bytes do not match its name")
        return content

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and self._path(digest).exists()

    def put_array(self, array: npt.NDArray[np.generic]) -> str:
        """Store an array in the npy format, without pickling."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        return self.put(buffer.getvalue())

    def get_array(self, digest: str) -> npt.NDArray[np.generic]:
        """Return an array stored by `put_array`.

        Raises:
            CorruptBlob: it is missing or damaged.
        """
        array: npt.NDArray[np.generic] = np.load(io.BytesIO(self.get(digest)), allow_pickle=False)
        return array

    def collect(self, keep: Iterable[str], among: Iterable[str]) -> int:
        """Delete the blobs in `among` that are not in `keep`; return how many bytes that freed."""
        freed = 0
        for digest in set(among) - set(keep):
            path = self._path(digest)
            with contextlib.suppress(FileNotFoundError):
                freed += path.stat().st_size
                path.unlink()
        return freed
