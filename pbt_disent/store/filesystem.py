"""Where a run's files are: a folder of this machine, or a place that pyarrow reaches, such as ``s3://bucket/runs``.

Names are relative, with slashes. What is written is complete or absent in both. Only a folder can refuse to write a
name twice; the objects of a run are therefore named by content (blobs) or by epoch (`pbt_disent.store.documents`).
"""

from __future__ import annotations

import errno
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pbt_disent.errors import UserError
from pbt_disent.files import free_bytes, is_unfinished, write_atomically

__all__ = ["FileInfo", "Files", "LocalFiles", "RemoteFiles", "is_uri", "join_location", "open_files"]

RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""The waits between attempts of an operation on an object store that fails or does not answer."""
CONNECT_TIMEOUT, REQUEST_TIMEOUT = 5.0, 60.0
GOOGLE_RETRY_LIMIT = 10
"""How many seconds Google's client itself tries again, which would be a quarter of an hour."""
SECRETS = ("access_key", "secret_key", "session_token", "password", "credentials")
SECRETS_REMEDY = (
    "leave them to the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), a profile, or the machine's role"
)

T = TypeVar("T")


@dataclass(frozen=True)
class FileInfo:
    """What is known of a file.

    Args:
        name: The name of the file, relative and with slashes.
        size: The number of bytes in it.
        modified: When it was written, in seconds of the storage's own clock.
    """

    name: str
    size: int
    modified: float


class Files(Protocol):
    """The files below one place. All raise OSError where the storage fails, FileNotFoundError where nothing is."""

    location: str

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        ...

    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Write a file completely or not at all, over another one if need be.

        Args:
            name: The name of the file.
            content: The whole content of the file.
            durable: Whether the file must survive a power loss. Object stores always see to that.
        """
        ...

    def stat(self, name: str) -> FileInfo | None:
        """Return what is known of a file, or None where there is none."""
        ...

    def list_files(self, folder: str) -> list[FileInfo]:
        """Return all files below a folder, sorted by name; the names begin with the folder's."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file; that it is gone already is no error."""
        ...

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be written, or None where that has no bound."""
        ...


def is_uri(location: str | Path) -> bool:
    """Return whether a location is a URI and not a path."""
    return "://" in str(location)


def join_location(location: str | Path, name: str) -> str:
    """Return the location of a file or folder below another, before the options of a URI.

    Args:
        location: A path or URI.
        name: The name below it.

    Example:
        >>> join_location("s3://bucket/runs?region=eu-central-1", "demo-1")
        's3://bucket/runs/demo-1?region=eu-central-1'
    """
    base, mark, options = str(location).partition("?")
    return f"{base.rstrip('/')}/{name}{mark}{options}"


def open_files(location: str | Path) -> Files:
    """Return the files below a path or a URI.

    Args:
        location: The path or URI.

    Raises:
        UserError: The URI is of no kind that pyarrow knows, or has credentials in it.
    """
    return RemoteFiles(str(location)) if is_uri(location) else LocalFiles(location)


class LocalFiles:
    """Files of a folder.

    Args:
        root: The folder, which is created at the first write.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.location = str(root)

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        return (self.root / name).read_bytes()

    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """See `Files.write`."""
        write_atomically(self.root / name, content, durable=durable)

    def stat(self, name: str) -> FileInfo | None:
        """See `Files.stat`."""
        try:
            status = (self.root / name).stat()
        except FileNotFoundError:
            return None
        return FileInfo(name, status.st_size, status.st_mtime)

    def list_files(self, folder: str) -> list[FileInfo]:
        """See `Files.list_files`."""
        paths = (path for path in (self.root / folder).rglob("*") if path.is_file() and not is_unfinished(path))
        names = sorted(str(path.relative_to(self.root)) for path in paths)
        return [info for name in names if (info := self.stat(name)) is not None]

    def delete(self, name: str) -> None:
        """See `Files.delete`."""
        (self.root / name).unlink(missing_ok=True)

    def free_bytes(self) -> int | None:
        """See `Files.free_bytes`."""
        return free_bytes(self.root)


class RemoteFiles:
    """Objects below a URI. What fails is tried again for some seconds, on top of what the client itself does.

    Args:
        location: The URI, such as ``s3://bucket/runs/demo-1?region=eu-central-1``, whose options are those of pyarrow's
            file system, or ``gs://bucket/runs/demo-1``.

    Raises:
        UserError: The URI is of no kind that pyarrow knows, or has credentials in it.
    """

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")
        self._filesystem, self._base = _open_filesystem(location)

    def read(self, name: str) -> bytes:
        """See `Files.read`."""

        def read() -> bytes:
            with self._filesystem.open_input_stream(self._path(name)) as stream:
                content: bytes = stream.read()
            return content

        return self._with_retries(read)

    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """See `Files.write`."""

        def write() -> None:
            stream = self._filesystem.open_output_stream(self._path(name))
            stream.write(content)
            stream.close()  # not on an error: closing is what makes the object appear

        try:
            self._with_retries(write)
        except FileNotFoundError:  # how Google's store says it
            where = self.location.split("?")[0]
            raise OSError(errno.ENOENT, f"{where}: the bucket is not there") from None

    def stat(self, name: str) -> FileInfo | None:
        """See `Files.stat`."""
        info = self._with_retries(lambda: self._filesystem.get_file_info(self._path(name)))
        return FileInfo(name, info.size, info.mtime_ns / 1e9) if info.is_file else None

    def list_files(self, folder: str) -> list[FileInfo]:
        """See `Files.list_files`."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._path(folder), recursive=True, allow_not_found=True)
        infos = self._with_retries(lambda: self._filesystem.get_file_info(selector))
        start = len(self._base) + 1
        files = [FileInfo(info.path[start:], info.size, info.mtime_ns / 1e9) for info in infos if info.is_file]
        return sorted(files, key=lambda file: file.name)

    def delete(self, name: str) -> None:
        """See `Files.delete`."""
        if self.stat(name) is not None:
            self._with_retries(lambda: self._filesystem.delete_file(self._path(name)))

    def free_bytes(self) -> int | None:
        """See `Files.free_bytes`: an object store has no end."""
        return None

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else str(self._base)

    def _with_retries(self, call: Callable[[], T]) -> T:
        for seconds in (*RETRY_SECONDS, None):
            try:
                return call()
            except (FileNotFoundError, PermissionError):
                raise
            except OSError as error:
                reason = " ".join(str(error).split())
                if seconds is None or "NO_SUCH_BUCKET" in reason or "ACCESS_DENIED" in reason:
                    raise OSError(error.errno or errno.EIO, f"{self.location.split('?')[0]}: {reason}") from None
                time.sleep(seconds)
        raise AssertionError


@functools.cache
def _open_filesystem(location: str) -> tuple[Any, str]:
    """Return pyarrow's file system of a URI, one per process, and the path in it."""
    import pyarrow
    from pyarrow import fs

    parts = urlsplit(location)
    options = dict(parse_qsl(parts.query))
    if "@" in parts.netloc.removeprefix("anonymous@") or any(name in options for name in SECRETS):
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise UserError(f"storage {shown}", "must not have credentials in it", SECRETS_REMEDY)
    try:
        if parts.scheme == "s3":
            settings: Any = {"connect_timeout": CONNECT_TIMEOUT, "request_timeout": REQUEST_TIMEOUT, **options}
            # A small object is one request, where pyarrow would make three of it.
            return fs.S3FileSystem(allow_delayed_open=True, **settings), (parts.netloc + parts.path).rstrip("/")
        if parts.scheme in {"gs", "gcs"} and "retry_limit_seconds" not in options:
            location += f"{'&' if parts.query else '?'}retry_limit_seconds={GOOGLE_RETRY_LIMIT}"
        filesystem, path = fs.FileSystem.from_uri(location)
        return filesystem, path.rstrip("/")
    except (pyarrow.ArrowException, TypeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"storage {location}", f"is nothing that pyarrow can open ({reason})", "give s3://, gs://, or a path"
        ) from None
