"""Where a round's manifests live, and the one way to add to them."""

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


class Held(Protocol):
    """The right to write a run: `pbt_disent.store.lease.Lease` or `pbt_disent.store.lease.RemoteLease`."""

    def check(self) -> None:
        """Raise `LeaseLost` unless this driver still holds the run."""
        ...


def read_manifests(folder: Path) -> list[Manifest]:
    """Return the manifests in a round's folder, from generation 0 without gaps.

    Raises:
        PbtDisentError: a manifest cannot be read, or is of a format that this version does not know.
    """
    manifests: list[Manifest] = []
    with _uncollected():
        while (path := folder / _name(len(manifests))).exists():
            try:
                manifests.append(Manifest.from_bytes(path.read_bytes()))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                said = f"is no manifest of this version: {first['loc']}: {first['msg']}"
                raise PbtDisentError(f"{path} {said}") from None
    return manifests


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's cycle collector from looking again and again at objects that only become more.

    With it, reading 300,000 members took 34.8 instead of 20.5 µs each.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class RoundJournal:
    """The manifests, lineage and checkpoints of all rounds of one run.

    Args:
        folder: the run folder.
        blobs: the run's blobs.
        lease: checked before every commit.
        documents: where manifests are committed, if that is not the folder.
    """

    def __init__(self, folder: Path, blobs: BlobStore, lease: Held, documents: Documents | None = None) -> None:
        self._rounds = folder / "rounds"
        self._superseded = folder / "superseded"
        self._blobs = blobs
        self._lease = lease
        self._documents = documents or LocalDocuments(folder)
        self._lineage = AppendOnlyLog(folder / "lineage.jsonl", closing="finished")
        self._turn = threading.Lock()  # rounds that run side by side share the lineage
        self._specs: dict[str, RoundSpec] = {}
        self._spared: set[str] = set()

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
        with self._turn:
            self._lease.check()
            self._specs[spec.path] = spec
            self._documents.take_over(f"rounds/{spec.path}")
            folder = self.folder(spec.path)
            self._set_aside_torn(spec.path)
            manifests = read_manifests(folder)
            if manifests and manifests[0].identity != spec.identity:
                self._supersede(spec.path, folder)
                return []
            for manifest in manifests:
                self._lineage.append(lineage_events(manifest))
        return manifests

    def commit(self, manifest: Manifest, history: Sequence[Manifest], spent: Iterable[str] = ()) -> None:
        """Put a generation on record, then drop the checkpoints that nothing on record needs any more.

        Args:
            manifest: the generation.
            history: those before it.
            spent: blobs that no manifest names as written, to be dropped as well if nothing needs them.

        Raises:
            LeaseLost: another driver holds the run now.
            AlreadyCommitted: another driver has committed this generation.
        """
        with self._turn:
            self._lease.check()
            self._documents.commit(f"rounds/{manifest.round}/{_name(manifest.generation)}", manifest.to_bytes())
            self._lineage.append(lineage_events(manifest))
            self._collect([*history, manifest], spent)

    def read(self, path: str, generation: int) -> Manifest | None:
        """Return one generation of a round, if it is on record."""
        file = self.folder(path) / _name(generation)
        return Manifest.from_bytes(file.read_bytes()) if file.exists() else None

    def newest_first(self, path: str) -> Iterator[Manifest]:
        """Yield the generations of a round from the last one on record down to the first."""
        folder = self.folder(path)
        count = next(number for number in itertools.count() if not (folder / _name(number)).exists())
        for generation in reversed(range(count)):
            yield Manifest.from_bytes((folder / _name(generation)).read_bytes())

    def spare(self, digest: str) -> None:
        """Have a blob outlive all commits of this driver: somebody is about to read it."""
        with self._turn:
            self._spared.add(digest)

    def sweep(self, spare: Iterable[str]) -> int:
        """Delete what earlier drivers left behind when they were killed; return how many bytes that freed.

        What stays: of each round the last two generations and the best member ever, whatever else of the run names a
        blob (its logs, moved-aside rounds, index arrays), and `spare`. Call it before anything new is stored.
        """
        self._lease.check()
        for torn in self._rounds.parent.rglob(UNFINISHED):
            torn.unlink(missing_ok=True)
        keep, dropped = set(spare), set[str]()
        for folder in sorted({path.parent for path in self._rounds.rglob("generation-*.json")}):
            self._set_aside_torn(folder.relative_to(self._rounds).as_posix())
            history = read_manifests(folder)
            keep |= _kept(history) | {one.data.subset for one in history if one.data and one.data.subset}
            dropped |= {digest for one in history for record in one.members for digest in _written(record)}
        for file in (*self._superseded.rglob("*"), *self._rounds.parent.glob("r*.json*")):
            if file.is_file():
                keep |= {digest.decode() for digest in DIGEST.findall(file.read_bytes())}
        return self._blobs.collect(keep, dropped | self._blobs.digests())

    def _collect(self, history: Sequence[Manifest], spent: Iterable[str]) -> None:
        """Keep the last two generations and the best member ever; drop codes as soon as they are scored."""
        former = _best_checkpoints(history[:-1])
        old = {digest for manifest in history[-3:-2] for record in manifest.members for digest in record.checkpoints}
        codes = {digest for record in history[-1].members for digest in record.codes}
        self._blobs.collect(_kept(history) | self._spared, old | former | codes | set(spent))

    def _set_aside_torn(self, path: str) -> None:
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


def _name(generation: int) -> str:
    return f"generation-{generation:04d}.json"


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _written(record: MemberRecord) -> tuple[str, ...]:
    return (*record.checkpoints, *record.codes)


def _kept(history: Sequence[Manifest]) -> set[str]:
    last = {digest for manifest in history[-2:] for record in manifest.members for digest in record.checkpoints}
    planned = {digest for manifest in history[-1:] for one in manifest.next for digest in one.origins if digest}
    return last | planned | _best_checkpoints(history)


def _best_checkpoints(history: Sequence[Manifest]) -> set[str]:
    best = [manifest.best for manifest in history if manifest.best]
    return set(max(best, key=lambda record: record.score or 0.0).checkpoints) if best else set()
