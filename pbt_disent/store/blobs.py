"""Content-addressed blobs: what is written is named by its SHA-256 and checked again when it is read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pbt_disent.errors import PbtDisentError
from pbt_disent.store.filesystem import Files, open_files

__all__ = ["BlobStore", "CorruptBlob"]


class CorruptBlob(PbtDisentError):
    """A blob is missing, or its bytes no longer match its digest.

    Args:
        message: for people.
        digest: of the blob.
    """

    def __init__(self, message: str, digest: str) -> None:
        super().__init__(message)
        self.digest = digest

    def __reduce__(self) -> tuple[type[CorruptBlob], tuple[str, str]]:
        """Survive pickling between processes with the digest."""
        return type(self), (str(self), self.digest)


class BlobStore:
    """Blobs in a folder or below a URI, two levels deep (``ab/cdef...``).

    Safe for many writers: equal content has equal names.

    Args:
        root: folder or URI that holds the blobs; a folder is created at the first write.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = str(root)
        self._files: Files = open_files(root)

    def put(self, content: bytes, *, durable: bool = True) -> str:
        """Store bytes and return their digest (64 hexadecimal digits); afterwards the blob is there and sound.

        A blob that is there already is read, so that a damaged one is mended.

        Args:
            content: the bytes.
            durable: whether the blob must survive a power loss; one that a crash makes worthless need not.
        """
        digest = hashlib.sha256(content).hexdigest()
        name = _name(digest)
        there = self._files.look(name)
        if there is None or there.size != len(content) or self._files.read(name) != content:
            self._files.write(name, content, durable=durable)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of a blob.

        Raises:
            CorruptBlob: it is missing or damaged.
            OSError: the storage does not answer.
        """
        try:
            content = self._files.read(_name(digest))
        except FileNotFoundError:
            raise CorruptBlob(f"blob {digest[:12]} is missing from {self.root}", digest) from None
        if hashlib.sha256(content).hexdigest() != digest:
            message = f"blob {digest[:12]} in {self.root} is damaged: its bytes do not match its name"
            raise CorruptBlob(message, digest)
        return content

    def is_sound(self, digest: str) -> bool:
        """Read a blob and say whether it is there and undamaged."""
        try:
            self.get(digest)
        except CorruptBlob:
            return False
        return True

    def size(self, digest: str) -> int:
        """Return the bytes of a blob; 0 where it is not there."""
        there = self._files.look(_name(digest))
        return 0 if there is None else there.size

    def all(self) -> set[str]:
        """Return the digests of all blobs."""
        return {name.replace("/", "") for entry in self._files.entries("") if len(name := entry.name) == 65}

    def free(self) -> int | None:
        """Return how many bytes can still be stored; none where that has no bound."""
        return self._files.free()

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and self._files.look(_name(digest)) is not None

    def put_array(self, array: npt.NDArray[np.generic], *, durable: bool = True) -> str:
        """Store an array in the npy format, without pickling; see `put`."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        return self.put(buffer.getvalue(), durable=durable)

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
            freed += self.size(digest)
            self._files.delete(_name(digest))
        return freed


def _name(digest: str) -> str:
    return f"{digest[:2]}/{digest[2:]}"
