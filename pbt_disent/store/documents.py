"""The documents of a run that are written once: in a folder by name, in an object store by name and epoch.

A folder can refuse to give a name twice, so that a late driver cannot replace what is there. Most object stores cannot.
There every driver writes names of its own, ``generation-0003.json`` as ``generation-0003.e000002.json``, and of several
the one of the highest epoch counts. No two drivers have the same epoch (`pbt_disent.store.claims`). A driver that
takes a run over first commits the newest document that it found again, under its own epoch, so that whatever a late one
still writes, it is either what the new driver builds on or outvoted.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Protocol

from pbt_disent.files import AlreadyCommitted, commit_document, write_atomically
from pbt_disent.store.filesystem import RemoteFiles

__all__ = ["Documents", "LocalDocuments", "RemoteDocuments", "newest_versions", "read_documents"]

EPOCH = re.compile(r"^(?P<stem>.+)\.e(?P<epoch>\d{6})(?P<suffix>\.[^.]+)$")


class Documents(Protocol):
    """Documents by name, below the run."""

    def commit(self, name: str, content: bytes) -> None:
        """Write a document once, durably; writing the same bytes again is no error.

        Raises:
            AlreadyCommitted: it is there with other bytes.
        """
        ...

    def take_over(self, folder: str) -> None:
        """Make what is on record in a folder this driver's own; call it before building on that."""
        ...

    def move(self, name: str, target: str) -> None:
        """Give a document another name."""
        ...


class LocalDocuments:
    """Documents in a folder.

    Args:
        root: the run folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def commit(self, name: str, content: bytes) -> None:
        """See `Documents.commit`."""
        commit_document(self._root / name, content)

    def take_over(self, folder: str) -> None:
        """See `Documents.take_over`: names in a folder belong to whoever wrote them first."""

    def move(self, name: str, target: str) -> None:
        """See `Documents.move`."""
        (self._root / target).parent.mkdir(parents=True, exist_ok=True)
        (self._root / name).rename(self._root / target)


class RemoteDocuments:
    """Documents in an object store, and a copy of each under its plain name in a folder for whoever reads the run.

    Args:
        files: of the run.
        epoch: of this driver's lease.
        mirror: the folder.
    """

    def __init__(self, files: RemoteFiles, epoch: int, mirror: Path) -> None:
        self._files = files
        self._epoch = epoch
        self._mirror = mirror

    def commit(self, name: str, content: bytes) -> None:
        """See `Documents.commit`."""
        known = self._versions(str(PurePosixPath(name).parent)).get(name)
        if known is not None and max(known) >= self._epoch:
            if self._files.read(known[max(known)]) != content:
                raise AlreadyCommitted(f"{name} is already committed with other content")
        else:
            self._files.write(_versioned(name, self._epoch), content)
        write_atomically(self._mirror / name, content)

    def take_over(self, folder: str) -> None:
        """See `Documents.take_over`."""
        versions = self._versions(folder)
        for name, known in versions.items():
            content = self._files.read(known[max(known)])
            if name == max(versions) and max(known) < self._epoch:
                self._files.write(_versioned(name, self._epoch), content)
            write_atomically(self._mirror / name, content)

    def move(self, name: str, target: str) -> None:
        """See `Documents.move`: a crash on the way leaves both names, and moving again is no error."""
        known = self._versions(str(PurePosixPath(name).parent)).get(name, {})
        if known:
            content = self._files.read(known[max(known)])
            self._files.write(_versioned(target, self._epoch), content)
            write_atomically(self._mirror / target, content)
        for version in known.values():
            self._files.delete(version)
        (self._mirror / name).unlink(missing_ok=True)

    def _versions(self, folder: str) -> dict[str, dict[int, str]]:
        return _versions([entry.name for entry in self._files.entries(folder)], folder)


def read_documents(files: RemoteFiles, folder: str) -> dict[str, bytes]:
    """Return the documents below a folder of an object store, by plain name."""
    return {name: files.read(version) for name, version in newest_versions(files, folder).items()}


def newest_versions(files: RemoteFiles, folder: str) -> dict[str, str]:
    """Return by plain name which object counts, of all documents below a folder."""
    versions = _versions([entry.name for entry in files.entries(folder)], None)
    return {name: known[max(known)] for name, known in versions.items()}


def _versions(names: list[str], folder: str | None) -> dict[str, dict[int, str]]:
    """Sort object names by plain name and epoch; with a folder, those directly in it."""
    found: dict[str, dict[int, str]] = {}
    for name in names:
        if (match := EPOCH.match(name)) and folder in {None, str(PurePosixPath(name).parent)}:
            found.setdefault(match["stem"] + match["suffix"], {})[int(match["epoch"])] = name
    return found


def _versioned(name: str, epoch: int) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.e{epoch:06d}{dot}{suffix}"
