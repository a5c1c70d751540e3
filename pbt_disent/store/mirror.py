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

__all__ = ["Mirror", "working_folder"]

DOCUMENTS = ("rounds/", "superseded/")
ELSEWHERE = ("blobs/", "lease/", *DOCUMENTS)
OF_THIS_MACHINE = ("lease.json", "spool.ack", "spool.lock", "mlflow.db", "mlartifacts/", ".tune/")
"""The lease says that a driver of this machine works in the folder. MLflow's own store stays with the driver;
`pbt-disent sync` fills another one from the spool."""


def working_folder(location: str) -> Path:
    """Return the folder of this machine for a run at a URI."""
    place, _, name = location.partition("?")[0].rstrip("/").rpartition("/")
    return cache_folder() / "runs" / hashlib.sha256(place.encode()).hexdigest()[:16] / name


class Mirror:
    """Keeps the two alike.

    Args:
        files: of the run, in the store.
        folder: on this machine.
    """

    def __init__(self, files: RemoteFiles, folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._sent: dict[str, tuple[int, int]] = {}
        self._pulled: dict[str, object] = {}
        self._mutex = threading.Lock()

    def pull(self) -> None:
        """Make the folder what the store says; what was pulled before and has not changed is left alone."""
        for name in DOCUMENTS:
            newest = newest_versions(self._files, name.rstrip("/"))
            for path in (self._folder / name).rglob("*"):
                if path.is_file() and path.relative_to(self._folder).as_posix() not in newest:
                    path.unlink()
            for document, version in newest.items():
                if self._is_new(document, version):
                    write_atomically(self._folder / document, self._files.read(version), durable=False)
                    self._pulled[document] = version
        for entry in self._files.entries(""):
            if entry.name.startswith((*ELSEWHERE, *OF_THIS_MACHINE)):
                continue
            seen = entry.size, entry.modified
            if not self._is_new(entry.name, seen):
                continue
            content, path = self._files.read(entry.name), self._folder / entry.name
            if entry.name == "spool.jsonl" and path.exists() and path.read_bytes() != content:
                (self._folder / "spool.ack").unlink(missing_ok=True)  # it counts bytes of the other file
            write_atomically(path, content, durable=False)
            self._pulled[entry.name] = seen

    def _is_new(self, name: str, version: object) -> bool:
        return self._pulled.get(name) != version or not (self._folder / name).exists()

    def push(self) -> None:
        """Copy what has changed to the store."""
        with self._mutex:
            for path in sorted(self._folder.rglob("*")):
                name = path.relative_to(self._folder).as_posix()
                if not path.is_file() or name.startswith((*ELSEWHERE, *OF_THIS_MACHINE)) or is_unfinished(path):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    seen = path.stat()
                    if self._sent.get(name) != (seen.st_mtime_ns, seen.st_size):
                        self._files.write(name, path.read_bytes())
                        self._sent[name] = seen.st_mtime_ns, seen.st_size

    @contextlib.contextmanager
    def following(self, changed: threading.Event) -> Iterator[None]:
        """Push in the background whenever `changed` is set, and once more at the end."""
        ended = threading.Event()

        def follow() -> None:
            while not ended.is_set():
                changed.wait()
                changed.clear()
                with contextlib.suppress(OSError):  # whoever commits will say so; the push at the end, too
                    self.push()

        thread = threading.Thread(target=follow, name="mirror", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            changed.set()
            thread.join()
            self.push()
