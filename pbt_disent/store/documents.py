"""The documents of a run that are written once: in a folder by name, in an object store by name and epoch.

A folder can refuse to give a name twice, so that a late driver cannot replace what is there. In an object store every
driver writes names of its own, ``generation-0003.json`` as ``generation-0003.e000002.json``, and of several the one of
the highest epoch counts. No two drivers have the same epoch (`pbt_disent.store.lease`). A driver that takes a run over
first commits the newest document that it finds again, under its own epoch, so that whatever a late one still writes, it
is either what the new driver builds on or outvoted.

Most stores could refuse a name that is taken (S3's ``If-None-Match: *``, Google's ``ifGenerationMatch=0``), but pyarrow
has no way to ask for it: `open_output_stream` takes metadata alone, of which its S3 and Google file systems pass on the
likes of ``Content-Type`` and ignore the rest. Measured with pyarrow 25.0.1 on a server that answers 412 to such a
request from boto3: with ``metadata={"If-None-Match": "*"}`` the second write replaces the first. A test watches for
the day on which that changes.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Protocol

from pbt_disent.files import AlreadyCommitted, commit_document, write_atomically
from pbt_disent.store.filesystem import RemoteFiles

__all__ = ["Documents", "LocalDocuments", "RemoteDocuments", "newest_versions"]

VERSIONED_NAME = re.compile(r"^(?P<stem>.+)\.e(?P<epoch>\d{6})(?P<suffix>\.[^.]+)$")


class Documents(Protocol):
    """Documents by name, below the run."""

    def commit(self, name: str, content: bytes) -> None:
        """Write a document once, durably; writing the same bytes again is no error.

        Args:
            name: The name of the document.
            content: The whole content of the document.

        Raises:
            AlreadyCommitted: It is there with other bytes.
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
        root: The run folder.
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
        files: The files of the run.
        epoch: The epoch of this driver's lease.
        mirror: The folder of this machine that mirrors the run.
    """

    def __init__(self, files: RemoteFiles, epoch: int, mirror: Path) -> None:
        self._files = files
        self._epoch = epoch
        self._mirror = mirror

    def commit(self, name: str, content: bytes) -> None:
        """See `Documents.commit`."""
        versions = self._versions(str(PurePosixPath(name).parent)).get(name)
        if versions is not None and max(versions) >= self._epoch:
            if self._files.read(versions[max(versions)]) != content:
                raise AlreadyCommitted(f"{name} is already committed with other content")
        else:
            self._files.write(_versioned(name, self._epoch), content)
        write_atomically(self._mirror / name, content)

    def take_over(self, folder: str) -> None:
        """See `Documents.take_over`."""
        documents = self._versions(folder)
        for name, versions in documents.items():
            content = self._files.read(versions[max(versions)])
            if name == max(documents) and max(versions) < self._epoch:
                self._files.write(_versioned(name, self._epoch), content)
            write_atomically(self._mirror / name, content)

    def move(self, name: str, target: str) -> None:
        """See `Documents.move`: a crash on the way leaves both names, and moving again is no error."""
        versions = self._versions(str(PurePosixPath(name).parent)).get(name, {})
        if versions:
            content = self._files.read(versions[max(versions)])
            self._files.write(_versioned(target, self._epoch), content)
            write_atomically(self._mirror / target, content)
        for object_name in versions.values():
            self._files.delete(object_name)
        (self._mirror / name).unlink(missing_ok=True)

    def _versions(self, folder: str) -> dict[str, dict[int, str]]:
        """Return the versions of the documents directly in a folder."""
        return {
            name: versions
            for name, versions in _versions(self._files, folder).items()
            if str(PurePosixPath(name).parent) == folder
        }


def newest_versions(files: RemoteFiles, folder: str) -> dict[str, str]:
    """Return which object counts for each document below a folder of an object store.

    Args:
        files: The files of the run.
        folder: The name of the folder.

    Returns:
        By the plain name of a document, the name of the object with the highest epoch.
    """
    return {name: versions[max(versions)] for name, versions in _versions(files, folder).items()}


def _versions(files: RemoteFiles, folder: str) -> dict[str, dict[int, str]]:
    """Return the names of all objects below a folder, by plain name and epoch."""
    versions: dict[str, dict[int, str]] = {}
    for info in files.list_files(folder):
        if match := VERSIONED_NAME.match(info.name):
            versions.setdefault(match["stem"] + match["suffix"], {})[int(match["epoch"])] = info.name
    return versions


def _versioned(name: str, epoch: int) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.e{epoch:06d}{dot}{suffix}"
