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
        message: The message, for people.
        digest: The digest of the blob.
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
        root: The folder or URI that holds the blobs. A folder is created at the first write.

    Example:
        >>> import tempfile
        >>> blobs = BlobStore(tempfile.mkdtemp())
        >>> digest = blobs.put(b"weights")
        >>> digest[:12], blobs.get(digest), digest in blobs
        ('9a129038d9a0', b'weights', True)
        >>> blobs.get_array(blobs.put_array(np.arange(3)))
        array([0, 1, 2])
    """

    def __init__(self, root: Path | str) -> None:
        self.root = str(root)
        self._files: Files = open_files(root)

    def put(self, content: bytes, *, durable: bool = True) -> str:
        """Store bytes; afterwards the blob is there and intact.

        A blob that is there already is read, so that a damaged one is written again.

        Args:
            content: The bytes.
            durable: Whether the blob must survive a power loss; one that a crash makes worthless need not.

        Returns:
            The digest of the blob, 64 hexadecimal digits.
        """
        digest = hashlib.sha256(content).hexdigest()
        name = _name(digest)
        info = self._files.stat(name)
        if info is None or info.size != len(content) or self._files.read(name) != content:
            self._files.write(name, content, durable=durable)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of a blob.

        Args:
            digest: The digest of the blob.

        Raises:
            CorruptBlob: It is missing or damaged.
            OSError: The storage does not answer.
        """
        try:
            content = self._files.read(_name(digest))
        except FileNotFoundError:
            raise CorruptBlob(f"blob {digest[:12]} is missing from {self.root}", digest) from None
        if hashlib.sha256(content).hexdigest() != digest:
            message = f"blob {digest[:12]} in {self.root} is damaged: its bytes do not match its name"
            raise CorruptBlob(message, digest)
        return content

    def put_array(self, array: npt.NDArray[np.generic], *, durable: bool = True) -> str:
        """Store an array in the npy format, without pickling.

        Args:
            array: The array.
            durable: Whether the blob must survive a power loss.

        Returns:
            The digest of the blob.

        Raises:
            ValueError: The array holds Python objects.
        """
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        return self.put(buffer.getvalue(), durable=durable)

    def get_array(self, digest: str) -> npt.NDArray[np.generic]:
        """Return an array stored by `put_array`.

        Args:
            digest: The digest of the blob.

        Raises:
            CorruptBlob: It is missing or damaged.
        """
        array: npt.NDArray[np.generic] = np.load(io.BytesIO(self.get(digest)), allow_pickle=False)
        return array

    def is_intact(self, digest: str) -> bool:
        """Read a blob, and return whether it is there and undamaged."""
        try:
            self.get(digest)
        except CorruptBlob:
            return False
        return True

    def size(self, digest: str) -> int:
        """Return the number of bytes in a blob; 0 where it is not there."""
        info = self._files.stat(_name(digest))
        return 0 if info is None else info.size

    def digests(self) -> set[str]:
        """Return the digests of all blobs."""
        names = (info.name for info in self._files.list_files(""))
        return {name.replace("/", "") for name in names if len(name) == 65}

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be stored, or None where that has no bound."""
        return self._files.free_bytes()

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and self._files.stat(_name(digest)) is not None

    def collect(self, keep: Iterable[str], among: Iterable[str]) -> int:
        """Delete the blobs that are no longer needed.

        Args:
            keep: The digests of the blobs that must stay.
            among: The digests of the blobs that may be deleted.

        Returns:
            How many bytes that freed.
        """
        freed = 0
        for digest in set(among) - set(keep):
            freed += self.size(digest)
            self._files.delete(_name(digest))
        return freed


def _name(digest: str) -> str:
    return f"{digest[:2]}/{digest[2:]}"
