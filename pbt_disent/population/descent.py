"""How a checkpoint came to be: the task that wrote it, found again in the manifests of its round."""

from __future__ import annotations

from collections.abc import Iterator

from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import Assignment, Manifest, MemberRecord
from pbt_disent.population.spec import RoundSpec
from pbt_disent.population.work import tasks_of
from pbt_disent.training.tasks import TrainTask

__all__ = ["Maker", "find_maker"]

Maker = tuple[TrainTask, int]
"""A task, and the place of one of its replicas."""


def find_maker(journal: RoundJournal, digest: str, path: str | None = None) -> Maker | None:
    """Return the task that wrote a checkpoint, and which of its replicas it was; none where nothing on record tells.

    Args:
        journal: whose rounds have been entered.
        digest: of the checkpoint.
        path: of the only round that is looked through; none for all.
    """
    specs = [spec for spec in journal.specs if path in {None, spec.path}]
    for spec in specs:
        for manifest in journal.newest_first(spec.path):
            for record, turn, origins in _played(journal, manifest):
                if digest in record.checkpoints:
                    return _task(spec, record, turn, origins, record.checkpoints.index(digest))
    return None


def _played(
    journal: RoundJournal, manifest: Manifest
) -> Iterator[tuple[MemberRecord, int, tuple[str | None, ...] | None]]:
    """Yield who has trained in a generation or window: its record, its turn, and the checkpoints that it started from.

    The last are none for first weights.
    """
    if manifest.window is not None:
        for record, source in zip(manifest.played, manifest.window.sources, strict=False):
            yield record, source.turn, source.origins
        return
    generation = manifest.generation
    before = journal.read(manifest.round, generation - 1) if generation else None
    plan = {one.member: one.origins for one in before.next} if before else {}
    for record in manifest.members:
        yield record, generation, plan.get(record.member)


def _task(
    spec: RoundSpec, record: MemberRecord, turn: int, origins: tuple[str | None, ...] | None, replica: int
) -> Maker:
    assignment = Assignment(
        member=record.member,
        operation=record.operation,
        parent=record.parent,
        origins=origins or (None,) * spec.population.replicas,
        hyperparameters=record.hyperparameters,
        kind=record.kind,
    )
    tasks = tasks_of(spec, turn, [assignment])
    task = next(one for one in tasks if replica in one.key.replicas)
    return task, task.key.replicas.index(replica)
