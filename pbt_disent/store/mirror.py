"""A run in an object store, and the folder of this machine in which its driver and its readers work.

Blobs and manifests are written to the store itself. Everything else (logs, labels, model, scores, report) is written to
the folder and copied to the store, after every generation and at the end. All of it can be made again from the
manifests, so a copy that is a generation late loses nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

from pbt_disent.files import cache_folder, is_unfinished, write_atomically
from pbt_disent.store.documents import newest_versions
from pbt_disent.store.filesystem import RemoteFiles

__all__ = ["Mirror", "mirror_folder"]

DOCUMENTS = ("rounds/", "superseded/")
"""What `pbt_disent.store.documents` writes to the store itself."""
NOT_PUSHED = ("blobs/", "lease/", *DOCUMENTS)
LOCAL = ("lease.json", "spool.ack", "spool.lock", "mlflow.db", "mlartifacts/", ".tune/")
"""What stays on this machine. The lease says that a driver of this machine works in the folder. MLflow's own store
stays with the driver; `pbt-disent sync` fills another one from the spool."""


def mirror_folder(location: str) -> Path:
    """Return the folder of this machine for a run at a URI.

    Example:
        >>> mirror_folder("s3://bucket/runs/demo-1?region=eu-central-1").name
        'demo-1'
    """
    parent, _, name = location.partition("?")[0].rstrip("/").rpartition("/")
    return cache_folder() / "runs" / hashlib.sha256(parent.encode()).hexdigest()[:16] / name


class Mirror:
    """Keeps a run in an object store and its folder on this machine alike.

    Args:
        files: The files of the run in the store.
        folder: The folder on this machine.
    """

    def __init__(self, files: RemoteFiles, folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._pushed: dict[str, tuple[int, int]] = {}
        self._pulled: dict[str, object] = {}
        self._mutex = threading.Lock()

    def pull(self) -> None:
        """Make the folder what the store says; what was pulled before and has not changed is left alone.

        Raises:
            OSError: The store does not answer.
        """
        for name in DOCUMENTS:
            newest = newest_versions(self._files, name.rstrip("/"))
            for path in (self._folder / name).rglob("*"):
                if path.is_file() and path.relative_to(self._folder).as_posix() not in newest:
                    path.unlink()
            for document, object_name in newest.items():
                if self._has_changed(document, object_name):
                    write_atomically(self._folder / document, self._files.read(object_name), durable=False)
                    self._pulled[document] = object_name
        for info in self._files.list_files(""):
            version = info.size, info.modified
            if info.name.startswith((*NOT_PUSHED, *LOCAL)) or not self._has_changed(info.name, version):
                continue
            content, path = self._files.read(info.name), self._folder / info.name
            if info.name == "spool.jsonl" and path.exists() and path.read_bytes() != content:
                (self._folder / "spool.ack").unlink(missing_ok=True)  # it counts bytes of the other file
            write_atomically(path, content, durable=False)
            self._pulled[info.name] = version

    def push(self) -> None:
        """Copy what has changed to the store.

        Raises:
            OSError: The store does not answer.
        """
        with self._mutex:
            for path in sorted(self._folder.rglob("*")):
                name = path.relative_to(self._folder).as_posix()
                if not path.is_file() or name.startswith((*NOT_PUSHED, *LOCAL)) or is_unfinished(path):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    version = status.st_mtime_ns, status.st_size
                    if self._pushed.get(name) != version:
                        self._files.write(name, path.read_bytes())
                        self._pushed[name] = version

    @contextlib.contextmanager
    def pushing(self, changed: threading.Event) -> Iterator[None]:
        """Push in the background whenever an event is set, and once more at the end.

        Args:
            changed: The event, which is cleared before each push.
        """
        ended = threading.Event()

        def push_when_changed() -> None:
            while not ended.is_set():
                changed.wait()
                changed.clear()
                with contextlib.suppress(OSError):  # whoever commits will say so; the push at the end, too
                    self.push()

        thread = threading.Thread(target=push_when_changed, name="mirror", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            changed.set()
            thread.join()
            self.push()

    def _has_changed(self, name: str, version: object) -> bool:
        return self._pulled.get(name) != version or not (self._folder / name).exists()
