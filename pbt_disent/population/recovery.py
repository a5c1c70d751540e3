"""An executor that looks after what is stored: space for the next generation, and checkpoints that were lost.

A checkpoint is a pure function of its task, and the manifests name the task of every checkpoint. One that is missing or
damaged is therefore trained again from the generation before, and that one's from the one before it if need be, down to
first weights. On the same kind of machine the bytes come out the same; elsewhere the new checkpoint takes the place of
the lost one, and the incident says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pbt_disent.errors import PbtDisentError
from pbt_disent.files import StorageFailed
from pbt_disent.population.executor import Executor, OnDone, ScoreTask
from pbt_disent.population.fitness import MemberScore
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import Assignment, Manifest, MemberRecord
from pbt_disent.population.plan import make_tasks
from pbt_disent.population.spec import RoundSpec
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask

__all__ = ["RecoveringExecutor", "log_incident"]

RESERVED_BYTES = 32 * 2**20
"""The space that manifests, logs, labels and the report need."""
MAX_RESTORES = 3
MAX_SOURCES = 10_000
"""The number of checkpoints whose tasks are remembered: more than a window of any population has."""

CheckpointSource = tuple[TrainTask, int]
"""The task that wrote a checkpoint, and the index of the replica among those of the task."""


def log_incident(log: AppendOnlyLog, event: str, **details: object) -> None:
    """Add an incident, such as ``checkpoint_lost``, to the log of a run's incidents.

    Args:
        log: The log.
        event: The name of the incident.
        **details: The details of the incident, which JSON can hold.
    """
    log.append([{"event": event, "time": time.time(), **details}])


class RecoveringExecutor:
    """Wraps the executor of a run; see `Executor`.

    Args:
        executor: The executor that does the work.
        journal: The manifests of the run.
        blobs: The blobs of the run.
        log: The log of incidents.
    """

    def __init__(self, executor: Executor, journal: RoundJournal, blobs: BlobStore, log: AppendOnlyLog) -> None:
        self._executor = executor
        self._journal = journal
        self._blobs = blobs
        self._log = log
        self._space_needed: dict[str, tuple[int, int]] = {}
        self._sources: dict[str, CheckpointSource] = {}
        self._replacements: dict[str, str] = {}
        self._recovery_lock = threading.RLock()  # members of an asynchronous population may miss the same checkpoint
        self._sources_lock = threading.Lock()

    @property
    def workers(self) -> int:
        """See `Executor.workers`."""
        return self._executor.workers

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        """See `Executor.train`.

        Raises:
            StorageFailed: The storage has no room for what a generation writes, or does not work.
            PbtDisentError: A checkpoint is lost for good.
        """
        if tasks:
            self._check_space(tasks)
        outcomes = self._executor.train(tasks, on_done)
        tasks = list(tasks)
        for _ in range(MAX_RESTORES):
            broken = [
                index
                for index, (task, outcome) in enumerate(zip(tasks, outcomes, strict=True))
                if outcome.lost is not None and outcome.lost in task.origins
            ]
            if not broken:
                break
            for index in broken:
                tasks[index] = self._with_restored_origins(tasks[index])
            again = self._executor.train([tasks[index] for index in broken], on_done)
            for index, outcome in zip(broken, again, strict=True):
                outcomes[index] = outcome
        self._remember(tasks, outcomes)
        return outcomes

    def score(self, task: ScoreTask) -> list[MemberScore]:
        """See `Executor.score`.

        Raises:
            PbtDisentError: What is to be scored is damaged.
        """
        try:
            return self._executor.score(task)
        except CorruptBlob as error:
            raise PbtDisentError(
                f"{error}; resume the run: what is on record stays, and generation {task.generation} of round "
                f"{task.round} is trained again"
            ) from None

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """See `Executor.encode`.

        Raises:
            PbtDisentError: The checkpoint is lost for good, or the images' indices are damaged.
        """
        for _ in range(MAX_RESTORES):
            try:
                return self._executor.encode(task)
            except CorruptBlob as error:
                if error.digest != task.checkpoint:
                    raise
                task = replace(task, checkpoint=self.restore(task.checkpoint))
        return self._executor.encode(task)

    def stop(self) -> None:
        """See `Executor.stop`."""
        self._executor.stop()

    def restore(self, digest: str, path: str | None = None) -> str:
        """Return the digest of an intact checkpoint: the one that is asked for, or one that was made in its place.

        Args:
            digest: The digest on record.
            path: The path of the round that wrote it, if that is known.

        Raises:
            PbtDisentError: It is lost, and cannot be made again.
        """
        with self._recovery_lock:
            return self._restore(digest, path)

    def _restore(self, digest: str, path: str | None) -> str:
        current = self._replacements.get(digest, digest)
        self._journal.protect(digest)  # in asynchronous training others commit meanwhile, and drop what only we need
        if self._blobs.is_intact(current):
            return current
        source = self._sources.get(digest) or find_source(self._journal, digest, path)
        if source is None:
            log_incident(self._log, "checkpoint_lost", round=path, lost=digest)
            raise _lost_for_good(digest, path, "nothing on record says how it was made")
        task, index = source
        key = task.key
        details = {"round": key.round, "generation": key.generation, "member": key.member, "lost": digest}
        log_incident(self._log, "checkpoint_lost", **details)
        outcome = self._executor.train([self._with_restored_origins(task)], lambda outcome: None)[0]
        if outcome.codes is not None:
            self._blobs.collect([], [outcome.codes])
        if outcome.status != "ok":
            raise _lost_for_good(digest, key.round, f"it could not be made again ({outcome.error})")
        current = outcome.checkpoints[index]
        self._replacements[digest] = current
        log_incident(self._log, "checkpoint_restored", **details, found=current, equal=current == digest)
        return current

    def _with_restored_origins(self, task: TrainTask) -> TrainTask:
        """Return a task all of whose origins are intact, with those made again that were not."""
        origins = (None if digest is None else self.restore(digest, task.key.round) for digest in task.origins)
        return replace(task, origins=tuple(origins))

    def _remember(self, tasks: Sequence[TrainTask], outcomes: Sequence[TrainOutcome]) -> None:
        """Remember which task wrote which checkpoint, which in asynchronous training is on record some turns later."""
        sources = {
            digest: (task, index)
            for task, outcome in zip(tasks, outcomes, strict=True)
            for index, digest in enumerate(outcome.checkpoints)
        }
        with self._sources_lock:
            self._sources |= sources
            for digest in list(self._sources)[:-MAX_SOURCES]:
                del self._sources[digest]

    def _check_space(self, tasks: Sequence[TrainTask]) -> None:
        """Refuse to begin a generation that would fill up the storage: it writes about as much as the one before."""
        free = self._blobs.free_bytes()
        if free is None:
            return
        key = tasks[0].key
        generation, needed = self._space_needed.get(key.round, (-1, 0))
        if generation != key.generation:
            before = self._journal.read(key.round, key.generation - 1) if key.generation else None
            written = [] if before is None else [digest for record in before.members for digest in record.checkpoints]
            needed = RESERVED_BYTES + sum(self._blobs.size(digest) for digest in written)
            self._space_needed[key.round] = key.generation, needed
        if free < needed:
            raise StorageFailed(
                f"{self._blobs.root} has {free / 2**20:.0f} MiB left, and generation {key.generation} of round "
                f"{key.round} needs about {needed / 2**20:.0f}; free some space, then resume: every committed "
                "generation is safe"
            )


def _lost_for_good(digest: str, path: str | None, reason: str) -> PbtDisentError:
    round_path = path or "PATH"
    return PbtDisentError(
        f"checkpoint {digest[:12]} of round {round_path} is lost, and {reason}; to train the round again, move "
        f"rounds/{round_path}/generation-* out of the run's folder, then resume the run"
    )


def find_source(journal: RoundJournal, digest: str, path: str | None = None) -> CheckpointSource | None:
    """Return the task that wrote a checkpoint, and which of its replicas it was, or None if nothing says it.

    Args:
        journal: The journal whose rounds have been entered.
        digest: The digest of the checkpoint.
        path: The path of the only round that is searched, or None for all.
    """
    specs = [spec for spec in journal.specs if path in {None, spec.path}]
    for spec in specs:
        for manifest in journal.newest_first(spec.path):
            for record, turn, origins in _trained_records(journal, manifest):
                if digest in record.checkpoints:
                    return _task(spec, record, turn, origins, record.checkpoints.index(digest))
    return None


def _trained_records(
    journal: RoundJournal, manifest: Manifest
) -> Iterator[tuple[MemberRecord, int, tuple[str | None, ...] | None]]:
    """Yield the record of each training in a generation or window, its turn, and the checkpoints that it started from.

    The last are None for first weights.
    """
    if manifest.window is not None:
        for record, source in zip(manifest.trained_records, manifest.window.sources, strict=False):
            yield record, source.turn, source.origins
        return
    generation = manifest.generation
    before = journal.read(manifest.round, generation - 1) if generation else None
    plan = {assignment.member: assignment.origins for assignment in before.next} if before else {}
    for record in manifest.members:
        yield record, generation, plan.get(record.member)


def _task(
    spec: RoundSpec, record: MemberRecord, turn: int, origins: tuple[str | None, ...] | None, replica: int
) -> CheckpointSource:
    assignment = Assignment(
        member=record.member,
        operation=record.operation,
        parent=record.parent,
        origins=origins or (None,) * spec.population.replicas,
        hyperparameters=record.hyperparameters,
        objective=record.objective,
    )
    tasks = make_tasks(spec, turn, [assignment])
    task = next(task for task in tasks if replica in task.key.replicas)
    return task, task.key.replicas.index(replica)
