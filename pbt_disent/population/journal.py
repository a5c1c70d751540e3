"""The journal of a run: where the manifests of its rounds live, and the only way to add to them."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from pbt_disent.errors import PbtDisentError
from pbt_disent.files import UNFINISHED
from pbt_disent.population.lineage import lineage_events
from pbt_disent.population.manifest import Manifest, MemberRecord
from pbt_disent.population.spec import RoundSpec
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.documents import Documents, LocalDocuments
from pbt_disent.store.log import AppendOnlyLog

__all__ = ["RoundJournal", "read_manifests"]


DIGEST = re.compile(rb"[0-9a-f]{64}")


class RunLease(Protocol):
    """The right to write a run: `pbt_disent.store.lease.Lease` or `pbt_disent.store.lease.RemoteLease`."""

    def check(self) -> None:
        """Raise `LeaseLost` unless this driver still holds the run."""
        ...


def read_manifests(folder: Path) -> list[Manifest]:
    """Return the manifests in a round's folder, from generation 0 without gaps.

    Raises:
        PbtDisentError: A manifest cannot be read, or is of a format that this version does not know.
    """
    manifests: list[Manifest] = []
    with _without_garbage_collection():
        while (path := folder / _file_name(len(manifests))).exists():
            try:
                manifests.append(Manifest.from_bytes(path.read_bytes()))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                reason = f"is no manifest of this version: {first['loc']}: {first['msg']}"
                raise PbtDisentError(f"{path} {reason}") from None
    return manifests


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Switch Python's cycle collector off: it would look at the growing objects again and again.

    With it on, reading 300,000 members took 34.8 instead of 20.5 µs each.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class RoundJournal:
    """The manifests, lineage and checkpoints of all rounds of one run.

    Args:
        folder: The folder of the run.
        blobs: The blobs of the run.
        lease: The right to write the run, which is checked before every commit.
        documents: The place where manifests are committed, if that is not the folder.
    """

    def __init__(self, folder: Path, blobs: BlobStore, lease: RunLease, documents: Documents | None = None) -> None:
        self._rounds = folder / "rounds"
        self._superseded = folder / "superseded"
        self._blobs = blobs
        self._lease = lease
        self._documents = documents or LocalDocuments(folder)
        self._lineage = AppendOnlyLog(folder / "lineage.jsonl", closing="finished")
        self._lock = threading.Lock()  # rounds that run side by side share the lineage
        self._specs: dict[str, RoundSpec] = {}
        self._protected: set[str] = set()

    def folder(self, path: str) -> Path:
        """Return the folder of a round."""
        return self._rounds / path

    @property
    def specs(self) -> tuple[RoundSpec, ...]:
        """The rounds that were entered, the last one of each path."""
        return tuple(self._specs.values())

    def enter(self, spec: RoundSpec) -> list[Manifest]:
        """Return what a round has committed so far.

        Generations of a round with other inputs (an earlier round was extended since) are moved aside, and so is a
        newest one whose file no longer holds what was written: it is trained again.
        """
        with self._lock:
            self._lease.check()
            self._specs[spec.path] = spec
            self._documents.take_over(f"rounds/{spec.path}")
            folder = self.folder(spec.path)
            self._supersede_unreadable(spec.path)
            manifests = read_manifests(folder)
            if manifests and manifests[0].identity != spec.identity:
                self._supersede(spec.path, folder)
                return []
            for manifest in manifests:
                self._lineage.append(lineage_events(manifest))
        return manifests

    def commit(self, manifest: Manifest, history: Sequence[Manifest], obsolete: Iterable[str] = ()) -> None:
        """Put a generation on record, then drop the checkpoints that nothing on record needs any more.

        Args:
            manifest: The manifest of the generation.
            history: The manifests before it.
            obsolete: The digests of blobs that no manifest names as written, dropped as well if nothing needs them.

        Raises:
            LeaseLost: Another driver holds the run now.
            AlreadyCommitted: Another driver has committed this generation.
        """
        with self._lock:
            self._lease.check()
            self._documents.commit(f"rounds/{manifest.round}/{_file_name(manifest.generation)}", manifest.to_bytes())
            self._lineage.append(lineage_events(manifest))
            self._collect([*history, manifest], obsolete)

    def read(self, path: str, generation: int) -> Manifest | None:
        """Return one generation of a round, if it is on record."""
        file = self.folder(path) / _file_name(generation)
        return Manifest.from_bytes(file.read_bytes()) if file.exists() else None

    def newest_first(self, path: str) -> Iterator[Manifest]:
        """Yield the generations of a round from the last one on record down to the first."""
        folder = self.folder(path)
        count = next(number for number in itertools.count() if not (folder / _file_name(number)).exists())
        for generation in reversed(range(count)):
            yield Manifest.from_bytes((folder / _file_name(generation)).read_bytes())

    def protect(self, digest: str) -> None:
        """Keep a blob through all commits of this driver, because it is about to be read."""
        with self._lock:
            self._protected.add(digest)

    def collect_garbage(self, needed: Iterable[str]) -> int:
        """Delete what earlier drivers left behind when they were killed; return the number of bytes that this freed.

        What stays: of each round the last two generations and the best member ever, and whatever else of the run names
        a blob (its logs, superseded rounds, index arrays). Call it before anything new is stored.

        Args:
            needed: The digests of blobs that stay as well.
        """
        self._lease.check()
        for unfinished in self._rounds.parent.rglob(UNFINISHED):
            unfinished.unlink(missing_ok=True)
        kept, dropped = set(needed), set[str]()
        for folder in sorted({path.parent for path in self._rounds.rglob("generation-*.json")}):
            self._supersede_unreadable(folder.relative_to(self._rounds).as_posix())
            history = read_manifests(folder)
            kept |= _checkpoints_to_keep(history) | {m.data.subset for m in history if m.data and m.data.subset}
            dropped |= {digest for m in history for record in m.members for digest in _written(record)}
        for file in (*self._superseded.rglob("*"), *self._rounds.parent.glob("r*.json*")):
            if file.is_file():
                kept |= {digest.decode() for digest in DIGEST.findall(file.read_bytes())}
        return self._blobs.collect(kept, dropped | self._blobs.digests())

    def _collect(self, history: Sequence[Manifest], obsolete: Iterable[str]) -> None:
        """Keep the last two generations and the best member ever; drop codes as soon as they are scored."""
        former = _best_checkpoints(history[:-1])
        old = {digest for manifest in history[-3:-2] for record in manifest.members for digest in record.checkpoints}
        codes = {digest for record in history[-1].members for digest in record.codes}
        self._blobs.collect(_checkpoints_to_keep(history) | self._protected, old | former | codes | set(obsolete))

    def _supersede_unreadable(self, path: str) -> None:
        """Move a newest manifest aside that is not even JSON any more."""
        files = sorted(self.folder(path).glob("generation-*.json"))
        if files and not _is_json(files[-1].read_bytes()):
            self._move(path, files[-1], self._next_superseded())

    def _supersede(self, path: str, folder: Path) -> None:
        """Move all manifests aside, the newest first: whatever is left by a crash still begins at generation 0."""
        self._lease.check()
        target = self._next_superseded()
        for document in sorted(folder.glob("generation-*.json"), reverse=True):
            self._move(path, document, target)

    def _move(self, path: str, document: Path, target: str) -> None:
        self._documents.move(f"rounds/{path}/{document.name}", f"{target}/{path}/{document.name}")

    def _next_superseded(self) -> str:
        number = next(number for number in itertools.count() if not (self._superseded / str(number)).exists())
        return f"superseded/{number}"


def _file_name(generation: int) -> str:
    return f"generation-{generation:04d}.json"


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _written(record: MemberRecord) -> tuple[str, ...]:
    return (*record.checkpoints, *record.codes)


def _checkpoints_to_keep(history: Sequence[Manifest]) -> set[str]:
    last = {digest for manifest in history[-2:] for record in manifest.members for digest in record.checkpoints}
    planned = {digest for manifest in history[-1:] for plan in manifest.next for digest in plan.origins if digest}
    return last | planned | _best_checkpoints(history)


def _best_checkpoints(history: Sequence[Manifest]) -> set[str]:
    best = [manifest.best for manifest in history if manifest.best]
    return set(max(best, key=lambda record: record.score or 0.0).checkpoints) if best else set()
