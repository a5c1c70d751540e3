"""Where a run's files are: a folder of this machine, or a place that pyarrow reaches, such as ``s3://bucket/runs``.

Names are relative, with slashes. What is written is whole or absent in both. Only a folder can refuse to write a name
twice; the objects of a run are therefore named by content (blobs) or by epoch (`pbt_disent.store.documents`).
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

__all__ = ["Entry", "Files", "LocalFiles", "RemoteFiles", "below", "is_uri", "open_files"]

PATIENCE_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between attempts of an operation on a distant storage that fails or does not answer."""
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 60.0
GOOGLE_SECONDS = 10
"""So long Google's client itself tries again, which would be a quarter of an hour."""
SECRETS = ("access_key", "secret_key", "session_token", "password", "credentials")
REMEDY = "leave them to the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), a profile, or the machine's role"

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A file: its name, its bytes, and when it was written, in seconds of the storage's own clock."""

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
        """Write a file, over another one if need be, whole or not at all; where that costs, `durable` only if asked."""
        ...

    def look(self, name: str) -> Entry | None:
        """Describe a file; none where there is none."""
        ...

    def entries(self, folder: str) -> list[Entry]:
        """Describe all files below a folder, by name; the names begin with the folder's."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file; that it is gone already is no error."""
        ...

    def free(self) -> int | None:
        """Return how many bytes can still be written; none where that has no bound."""
        ...


def is_uri(location: str | Path) -> bool:
    """Return whether a location is a URI and not a path."""
    return "://" in str(location)


def below(location: str | Path, name: str) -> str:
    """Return the location of a file or folder below another, before the options of a URI."""
    base, mark, options = str(location).partition("?")
    return f"{base.rstrip('/')}/{name}{mark}{options}"


def open_files(location: str | Path) -> Files:
    """Return the files below a path or a URI.

    Raises:
        UserError: the URI is of no kind that pyarrow knows, or has credentials in it.
    """
    return RemoteFiles(str(location)) if is_uri(location) else LocalFiles(location)


class LocalFiles:
    """Files of a folder.

    Args:
        root: the folder; made at the first write.
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

    def look(self, name: str) -> Entry | None:
        """See `Files.look`."""
        try:
            seen = (self.root / name).stat()
        except FileNotFoundError:
            return None
        return Entry(name, seen.st_size, seen.st_mtime)

    def entries(self, folder: str) -> list[Entry]:
        """See `Files.entries`."""
        paths = (path for path in (self.root / folder).rglob("*") if path.is_file() and not is_unfinished(path))
        names = sorted(str(path.relative_to(self.root)) for path in paths)
        return [entry for name in names if (entry := self.look(name)) is not None]

    def delete(self, name: str) -> None:
        """See `Files.delete`."""
        (self.root / name).unlink(missing_ok=True)

    def free(self) -> int | None:
        """See `Files.free`."""
        return free_bytes(self.root)


class RemoteFiles:
    """Objects below a URI. What fails is tried again for some seconds, on top of what the client itself does.

    Args:
        location: such as ``s3://bucket/runs/one?region=eu-central-1`` (options: those of pyarrow's file system), or
            ``gs://bucket/runs/one``.
    """

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")
        self._system, self._base = _system(location)

    def read(self, name: str) -> bytes:
        """See `Files.read`."""

        def read() -> bytes:
            with self._system.open_input_stream(self._path(name)) as stream:
                content: bytes = stream.read()
            return content

        return self._patiently(read)

    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """See `Files.write`."""

        def write() -> None:
            stream = self._system.open_output_stream(self._path(name))
            stream.write(content)
            stream.close()  # not on an error: closing is what makes the object appear

        try:
            self._patiently(write)
        except FileNotFoundError:  # how Google's store says it
            where = self.location.split("?")[0]
            raise OSError(errno.ENOENT, f"{where}: the bucket is not there") from None

    def look(self, name: str) -> Entry | None:
        """See `Files.look`."""
        found = self._patiently(lambda: self._system.get_file_info(self._path(name)))
        return Entry(name, found.size, found.mtime_ns / 1e9) if found.is_file else None

    def entries(self, folder: str) -> list[Entry]:
        """See `Files.entries`."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._path(folder), recursive=True, allow_not_found=True)
        found = self._patiently(lambda: self._system.get_file_info(selector))
        start = len(self._base) + 1
        return sorted(
            (Entry(one.path[start:], one.size, one.mtime_ns / 1e9) for one in found if one.is_file),
            key=lambda entry: entry.name,
        )

    def delete(self, name: str) -> None:
        """See `Files.delete`."""
        if self.look(name) is not None:
            self._patiently(lambda: self._system.delete_file(self._path(name)))

    def free(self) -> int | None:
        """See `Files.free`: an object store has no end."""
        return None

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else str(self._base)

    def _patiently(self, call: Callable[[], T]) -> T:
        for seconds in (*PATIENCE_SECONDS, None):
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
def _system(location: str) -> tuple[Any, str]:
    """Return pyarrow's file system of a URI, one per process, and the path in it."""
    import pyarrow
    from pyarrow import fs

    parts = urlsplit(location)
    options = dict(parse_qsl(parts.query))
    if "@" in parts.netloc.removeprefix("anonymous@") or any(name in options for name in SECRETS):
        bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise UserError(f"storage {bare}", "must not have credentials in it", REMEDY)
    try:
        if parts.scheme == "s3":
            settings: Any = {"connect_timeout": CONNECT_SECONDS, "request_timeout": ANSWER_SECONDS, **options}
            # A small object is one request, where pyarrow would make three of it.
            return fs.S3FileSystem(allow_delayed_open=True, **settings), (parts.netloc + parts.path).rstrip("/")
        if parts.scheme in {"gs", "gcs"} and "retry_limit_seconds" not in options:
            location += f"{'&' if parts.query else '?'}retry_limit_seconds={GOOGLE_SECONDS}"
        system, path = fs.FileSystem.from_uri(location)
        return system, path.rstrip("/")
    except (pyarrow.ArrowException, TypeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"storage {location}", f"is nothing that pyarrow can open ({reason})", "give s3://, gs://, or a path"
        ) from None
