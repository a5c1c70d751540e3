"""Where a round's manifests live, and the one way to add to them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from pbt_disent.errors import PbtDisentError
from pbt_disent.population.manifest import Manifest, lineage_events
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.files import commit_document
from pbt_disent.store.lease import Lease
from pbt_disent.store.log import GrowingLog

__all__ = ["RoundJournal", "read_manifests"]


class HasIdentity(Protocol):
    """What the journal needs to know of a round."""

    @property
    def path(self) -> str:
        """The round's path."""
        ...

    @property
    def identity(self) -> str:
        """Digest of the round's inputs."""
        ...


def read_manifests(folder: Path) -> list[Manifest]:
    """Return the manifests in a round's folder, from generation 0 without gaps.

    Raises:
        PbtDisentError: a manifest cannot be read, or is of a format that this version does not know.
    """
    manifests: list[Manifest] = []
    for generation in itertools.count():
        path = folder / f"generation-{generation:04d}.json"
        if not path.exists():
            return manifests
        try:
            manifests.append(Manifest.from_bytes(path.read_bytes()))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise PbtDisentError(f"{path} is no manifest of this version: {first['loc']}: {first['msg']}") from None
    raise AssertionError


class RoundJournal:
    """The manifests, lineage and checkpoints of all rounds of one run.

    Args:
        folder: the run folder.
        blobs: the run's blobs.
        lease: checked before every commit.
    """

    def __init__(self, folder: Path, blobs: BlobStore, lease: Lease) -> None:
        self._rounds = folder / "rounds"
        self._superseded = folder / "superseded"
        self._blobs = blobs
        self._lease = lease
        self._lineage = GrowingLog(folder / "lineage.jsonl", closing="finished")

    def folder(self, path: str) -> Path:
        """Return the folder of a round."""
        return self._rounds / path

    def enter(self, spec: HasIdentity) -> list[Manifest]:
        """Return what a round has committed so far.

        Generations of a round with other inputs (an earlier round was extended since) are moved aside.
        """
        folder = self.folder(spec.path)
        manifests = read_manifests(folder)
        if manifests and manifests[0].identity != spec.identity:
            self._supersede(spec.path, folder)
            return []
        for manifest in manifests:
            self._lineage.append(lineage_events(manifest))
        return manifests

    def commit(self, manifest: Manifest, history: Sequence[Manifest]) -> None:
        """Put a generation on record, then drop the checkpoints that nothing on record needs any more.

        Raises:
            LeaseLost: another driver holds the run now.
            AlreadyCommitted: another driver has committed this generation.
        """
        self._lease.check()
        path = self.folder(manifest.round) / f"generation-{manifest.generation:04d}.json"
        commit_document(path, manifest.to_bytes())
        self._lineage.append(lineage_events(manifest))
        self._collect([*history, manifest])

    def _collect(self, history: Sequence[Manifest]) -> None:
        """Keep the last two generations and the best member ever; drop codes as soon as they are scored."""
        keep, former = _best_checkpoints(history), _best_checkpoints(history[:-1])
        for manifest in history[-2:]:
            keep |= {digest for record in manifest.members for digest in record.checkpoints}
        old = {digest for manifest in history[-3:-2] for record in manifest.members for digest in record.checkpoints}
        codes = {digest for record in history[-1].members for digest in record.codes}
        self._blobs.collect(keep, old | former | codes)

    def _supersede(self, path: str, folder: Path) -> None:
        self._lease.check()
        number = next(number for number in itertools.count() if not (self._superseded / str(number)).exists())
        target = self._superseded / str(number) / path
        target.mkdir(parents=True)
        for document in folder.glob("generation-*.json"):
            document.rename(target / document.name)


def _best_checkpoints(history: Sequence[Manifest]) -> set[str]:
    best = [manifest.best for manifest in history if manifest.best]
    return set(max(best, key=lambda record: record.score or 0.0).checkpoints) if best else set()
