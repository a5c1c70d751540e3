"""An executor that looks after what is stored: room for the next generation, and checkpoints that were lost.

A checkpoint is a pure function of its task, and the manifests name the task of every checkpoint. One that is missing or
damaged is therefore trained again from the generation before, and that one's from the one before it if need be, down to
first weights. On the same kind of machine the bytes come out the same; elsewhere the new checkpoint takes the place of
the lost one, and the incident says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from pbt_disent.errors import PbtDisentError
from pbt_disent.population.executor import Executor, OnDone, ScoreTask
from pbt_disent.population.fitness import MemberScore
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import Manifest, MemberRecord
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.files import StorageFailed
from pbt_disent.store.log import GrowingLog
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask

__all__ = ["Safekeeping", "incidents"]

SPARE_BYTES = 32 * 2**20
"""For manifests, logs, labels and the report."""
TRIES = 3


def incidents(log: GrowingLog, event: str, **details: object) -> None:
    """Put an incident on a run's log of them."""
    log.append([{"event": event, "time": time.time(), **details}])


class Safekeeping:
    """Wraps the executor of a run; see `Executor`.

    Args:
        executor: does the work.
        journal: the run's manifests.
        blobs: the run's blobs.
        log: where incidents are put on record.
    """

    def __init__(self, executor: Executor, journal: RoundJournal, blobs: BlobStore, log: GrowingLog) -> None:
        self._executor = executor
        self._journal = journal
        self._blobs = blobs
        self._log = log
        self._asked: tuple[str, int] | None = None
        self._needed = SPARE_BYTES

    @property
    def workers(self) -> int:
        """See `Executor.workers`."""
        return self._executor.workers

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        """See `Executor.train`.

        Raises:
            StorageFailed: the storage has no room for what a generation writes, or does not work.
        """
        if tasks:
            self._make_sure_of_room(tasks)
        outcomes = self._executor.train(tasks, on_done)
        tasks = list(tasks)
        for _ in range(TRIES):
            broken = [
                place
                for place, (task, outcome) in enumerate(zip(tasks, outcomes, strict=True))
                if outcome.lost is not None and outcome.lost in task.origins
            ]
            if not broken:
                break
            for place in broken:
                tasks[place] = self._mended(tasks[place])
            again = self._executor.train([tasks[place] for place in broken], on_done)
            for place, outcome in zip(broken, again, strict=True):
                outcomes[place] = outcome
        return outcomes

    def score(self, task: ScoreTask) -> list[MemberScore]:
        """See `Executor.score`."""
        return self._executor.score(task)

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """See `Executor.encode`."""
        return self._executor.encode(task)

    def stop(self) -> None:
        """See `Executor.stop`."""
        self._executor.stop()

    def restore(self, task: TrainTask, place: int, wanted: str) -> str:
        """Return the digest of a sound checkpoint that a task wrote: the one that is on record, or one made again.

        Args:
            task: what wrote it, as `_producer` finds it.
            place: of the replica in the task.
            wanted: the digest on record.
        """
        if self._blobs.is_sound(wanted):
            return wanted
        outcome = self._executor.train([self._mended(task)], lambda outcome: None)[0]
        if outcome.codes is not None:
            self._blobs.collect([], [outcome.codes])
        if outcome.status != "ok":
            raise PbtDisentError(f"checkpoint {wanted[:12]} is lost and could not be made again: {outcome.error}")
        found = outcome.checkpoints[place]
        key = task.key
        incidents(
            self._log,
            "checkpoint_restored",
            round=key.round,
            generation=key.generation,
            member=key.member,
            lost=wanted,
            found=found,
            equal=found == wanted,
        )
        return found

    def _mended(self, task: TrainTask) -> TrainTask:
        """Return a task all of whose origins are sound, with those made again that were not."""
        key, origins = task.key, list(task.origins)
        for place, digest in enumerate(task.origins):
            if digest is None or self._blobs.is_sound(digest):
                continue
            producer = self._producer(task, digest)
            if producer is None:
                raise PbtDisentError(
                    f"checkpoint {digest[:12]} of round {key.round}, generation {key.generation - 1} is lost, and no "
                    "manifest on record says how it was made"
                )
            incidents(self._log, "checkpoint_lost", round=key.round, generation=key.generation - 1, lost=digest)
            origins[place] = self.restore(producer, place, digest)
        return replace(task, origins=tuple(origins))

    def _producer(self, task: TrainTask, digest: str) -> TrainTask | None:
        """Return the task of the generation before that wrote a checkpoint which `task` starts from."""
        key = task.key
        before = self._journal.read(key.round, key.generation - 1)
        record = None if before is None else _writer_of(before, digest)
        if record is None:
            return None
        return replace(
            task,
            key=replace(key, generation=key.generation - 1, member=record.member),
            origins=self._origins(record, key.round, key.generation - 1, key.replicas),
            hyperparameters=record.hyperparameters,
        )

    def _origins(
        self, record: MemberRecord, path: str, generation: int, replicas: Sequence[int]
    ) -> tuple[str | None, ...]:
        before = self._journal.read(path, generation - 1) if generation else None
        plan = () if before is None else before.next
        origins = next((one.origins for one in plan if one.member == record.member), None)
        return tuple(None if origins is None else origins[replica] for replica in replicas)

    def _make_sure_of_room(self, tasks: Sequence[TrainTask]) -> None:
        """Refuse to begin a generation that would fill the storage up: it writes about as much as the one before."""
        free = self._blobs.free()
        if free is None:
            return
        key = tasks[0].key
        if self._asked != (key.round, key.generation):
            before = self._journal.read(key.round, key.generation - 1) if key.generation else None
            written = [] if before is None else [digest for one in before.members for digest in one.checkpoints]
            self._asked = key.round, key.generation
            self._needed = SPARE_BYTES + sum(self._blobs.size(digest) for digest in written)
        if free < self._needed:
            raise StorageFailed(
                f"{self._blobs.root} has {free / 2**20:.0f} MiB left, and generation {key.generation} of round "
                f"{key.round} needs about {self._needed / 2**20:.0f}; free some space, then resume: every committed "
                "generation is safe"
            )


def _writer_of(manifest: Manifest, digest: str) -> MemberRecord | None:
    return next((record for record in manifest.members if digest in record.checkpoints), None)
