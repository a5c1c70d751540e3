"""An executor that looks after what is stored: room for the next generation, and checkpoints that were lost.

A checkpoint is a pure function of its task, and the manifests name the task of every checkpoint. One that is missing or
damaged is therefore trained again from the generation before, and that one's from the one before it if need be, down to
first weights. On the same kind of machine the bytes come out the same; elsewhere the new checkpoint takes the place of
the lost one, and the incident says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from pbt_disent.errors import PbtDisentError
from pbt_disent.files import StorageFailed
from pbt_disent.population.descent import Maker, find_maker
from pbt_disent.population.executor import Executor, OnDone, ScoreTask
from pbt_disent.population.fitness import MemberScore
from pbt_disent.population.journal import RoundJournal
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.store.log import GrowingLog
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask

__all__ = ["Safekeeping", "incidents"]

SPARE_BYTES = 32 * 2**20
"""For manifests, logs, labels and the report."""
TRIES = 3
REMEMBERED = 10_000
"""Checkpoints whose makers are kept in mind: more than a window of any population has."""


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
        self._needed: dict[str, tuple[int, int]] = {}
        self._made: dict[str, Maker] = {}
        self._instead: dict[str, str] = {}
        self._turn = threading.RLock()  # members of an asynchronous population may miss the same checkpoint
        self._making = threading.Lock()

    @property
    def workers(self) -> int:
        """See `Executor.workers`."""
        return self._executor.workers

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        """See `Executor.train`.

        Raises:
            StorageFailed: the storage has no room for what a generation writes, or does not work.
            PbtDisentError: a checkpoint is lost for good.
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
        self._remember(tasks, outcomes)
        return outcomes

    def score(self, task: ScoreTask) -> list[MemberScore]:
        """See `Executor.score`.

        Raises:
            PbtDisentError: what is to be scored is damaged.
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
            PbtDisentError: the checkpoint is lost for good, or the images' indices are damaged.
        """
        for _ in range(TRIES):
            try:
                return self._executor.encode(task)
            except CorruptBlob as error:
                if error.digest != task.checkpoint:
                    raise
                task = replace(task, checkpoint=self.sound(task.checkpoint))
        return self._executor.encode(task)

    def stop(self) -> None:
        """See `Executor.stop`."""
        self._executor.stop()

    def sound(self, digest: str, path: str | None = None) -> str:
        """Return the digest of a sound checkpoint: the one that is asked for, or one that was made in its place.

        Args:
            digest: on record.
            path: of the round that wrote it, if that is known.

        Raises:
            PbtDisentError: it is lost, and cannot be made again.
        """
        with self._turn:
            return self._sound(digest, path)

    def _sound(self, digest: str, path: str | None) -> str:
        found = self._instead.get(digest, digest)
        self._journal.spare(digest)  # in asynchronous training others commit meanwhile, and drop what only we need
        if self._blobs.is_sound(found):
            return found
        maker = self._made.get(digest) or find_maker(self._journal, digest, path)
        if maker is None:
            incidents(self._log, "checkpoint_lost", round=path, lost=digest)
            raise _lost_for_good(digest, path, "nothing on record says how it was made")
        task, place = maker
        key = task.key
        who = {"round": key.round, "generation": key.generation, "member": key.member, "lost": digest}
        incidents(self._log, "checkpoint_lost", **who)
        outcome = self._executor.train([self._mended(task)], lambda outcome: None)[0]
        if outcome.codes is not None:
            self._blobs.collect([], [outcome.codes])
        if outcome.status != "ok":
            raise _lost_for_good(digest, key.round, f"it could not be made again ({outcome.error})")
        found = outcome.checkpoints[place]
        self._instead[digest] = found
        incidents(self._log, "checkpoint_restored", **who, found=found, equal=found == digest)
        return found

    def _mended(self, task: TrainTask) -> TrainTask:
        """Return a task all of whose origins are sound, with those made again that were not."""
        sound = (None if digest is None else self.sound(digest, task.key.round) for digest in task.origins)
        return replace(task, origins=tuple(sound))

    def _remember(self, tasks: Sequence[TrainTask], outcomes: Sequence[TrainOutcome]) -> None:
        """Keep in mind who wrote which checkpoint: in asynchronous training that is on record some turns later only."""
        made = {
            digest: (task, place)
            for task, outcome in zip(tasks, outcomes, strict=True)
            for place, digest in enumerate(outcome.checkpoints)
        }
        with self._making:
            self._made |= made
            for digest in list(self._made)[:-REMEMBERED]:
                del self._made[digest]

    def _make_sure_of_room(self, tasks: Sequence[TrainTask]) -> None:
        """Refuse to begin a generation that would fill the storage up: it writes about as much as the one before."""
        free = self._blobs.free()
        if free is None:
            return
        key = tasks[0].key
        asked, needed = self._needed.get(key.round, (-1, 0))
        if asked != key.generation:
            before = self._journal.read(key.round, key.generation - 1) if key.generation else None
            written = [] if before is None else [digest for one in before.members for digest in one.checkpoints]
            needed = SPARE_BYTES + sum(self._blobs.size(digest) for digest in written)
            self._needed[key.round] = key.generation, needed
        if free < needed:
            raise StorageFailed(
                f"{self._blobs.root} has {free / 2**20:.0f} MiB left, and generation {key.generation} of round "
                f"{key.round} needs about {needed / 2**20:.0f}; free some space, then resume: every committed "
                "generation is safe"
            )


def _lost_for_good(digest: str, path: str | None, why: str) -> PbtDisentError:
    round_ = path or "PATH"
    return PbtDisentError(
        f"checkpoint {digest[:12]} of round {round_} is lost, and {why}; to train the round anew, move "
        f"rounds/{round_}/generation-* out of the run's folder, then resume the run"
    )
