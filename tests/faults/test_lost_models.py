"""Checkpoints are lost that only later work needs: a round's winner, and the past of an asynchronous population."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pbt_disent import api
from pbt_disent.errors import PbtDisentError
from pbt_disent.population.engine import run_population
from pbt_disent.population.events import Event, RoundFinished
from pbt_disent.population.executor import Executor, ScoreTask
from pbt_disent.population.fitness import MemberScore
from pbt_disent.population.recovery import RecoveringExecutor
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.training.tasks import TrainOutcome, TrainTask
from tests.faults.test_checkpoints import corrupt, incidents_of
from tests.population.fakes import Crash, FakeExecutor, Watch, journal, spec
from tests.population.test_asynchronous import GENERATIONS, SIZE, asynchronous, read
from tests.test_pipeline import assert_equal_runs, fresh


def blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / digest[:2] / digest[2:]


class DamageWinners:
    """Damages the checkpoints of the best member of every round as soon as the round has ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.damaged: set[str] = set()

    def notify(self, event: Event) -> None:
        if not isinstance(event, RoundFinished):
            return
        history = read(self._folder / "rounds" / event.path)
        best = max((manifest.best for manifest in history if manifest.best), key=lambda record: record.score or 0)
        for number, digest in enumerate(best.checkpoints):
            if digest not in self.damaged:
                (corrupt if number else Path.unlink)(blob(self._folder, digest))
                self.damaged.add(digest)


@pytest.mark.slow
def test_winners_that_are_lost_before_they_label_and_are_exported_are_made_again(tmp_path: Path) -> None:
    whole, damaged = fresh(tmp_path / "whole"), fresh(tmp_path / "damaged")
    api.execute(api.prepare(whole), Watch(), api.InProcess())
    observer = DamageWinners(damaged.path)
    api.execute(api.prepare(damaged), observer, api.InProcess())
    restored = incidents_of(damaged.path, "checkpoint_restored")
    assert {row["round"] for row in restored} >= {"0", "final"}
    assert all(row["equal"] for row in restored)
    assert {row["lost"] for row in restored} & observer.damaged
    assert_equal_runs(damaged, RunFolder(whole.path))


class LosingExecutor(FakeExecutor):
    """Says which origin is lost, one task at a time; may lose those of the first task of some turn itself."""

    def __init__(self, blobs: BlobStore, loses: int | None = None) -> None:
        super().__init__(blobs)
        self._loses = loses
        self._one_at_a_time = threading.Lock()
        self.lost: set[str] = set()

    def _train(self, task: TrainTask) -> TrainOutcome:
        with self._one_at_a_time:
            origins = [digest for digest in task.origins if digest]
            if self._loses is not None and task.key.generation >= self._loses and origins and not self.lost:
                self.lost |= set(origins)
                for digest in origins:
                    blob(Path(self.blobs.root).parent, digest).unlink()
            for digest in origins:
                if not self.blobs.is_intact(digest):
                    return TrainOutcome(task.key, "failed", error="lost", lost=digest)
            return super()._train(task)


def keep(executor: Executor, folder: Path, round_journal: object, blobs: BlobStore) -> RecoveringExecutor:
    return RecoveringExecutor(executor, round_journal, blobs, AppendOnlyLog(folder / "incidents.jsonl"))  # type: ignore[arg-type]


def train(folder: Path, loses: int | None = None, die_at: tuple[int, str] | None = None) -> LosingExecutor:
    round_journal, blobs, lease = journal(folder)
    executor = LosingExecutor(blobs, loses)
    try:
        run_population(asynchronous(), keep(executor, folder, round_journal, blobs), round_journal, Watch(die_at))
    finally:
        lease.release()
    return executor


def assert_whole(folder: Path) -> list[dict[str, object]]:
    history = read(folder)
    assert len(history) == GENERATIONS
    assert all(record.status == "ok" for manifest in history for record in manifest.trained_records)
    assert all(
        len(manifest.trained_records) == SIZE == len(manifest.window.sources) for manifest in history if manifest.window
    )
    restored = incidents_of(folder, "checkpoint_restored")
    assert restored
    assert all(row["equal"] for row in restored)
    return restored


def test_a_checkpoint_lost_in_an_asynchronous_population_is_made_again(tmp_path: Path) -> None:
    """It may be of a turn since the last window, which no manifest tells of yet."""
    lost = train(tmp_path, loses=3).lost
    assert len(lost) == 1
    assert lost <= {str(row["lost"]) for row in assert_whole(tmp_path)}


def test_an_asynchronous_population_goes_on_without_any_of_its_checkpoints(tmp_path: Path) -> None:
    """The manifests alone say how they came to be, down to first weights."""
    with pytest.raises(Crash):
        train(tmp_path, die_at=(3, "committed"))
    before = read(tmp_path)
    for digest in BlobStore(tmp_path / "blobs").digests():
        blob(tmp_path, digest).unlink()
    train(tmp_path)
    assert read(tmp_path)[: len(before)] == before
    assert 0 in {row["generation"] for row in assert_whole(tmp_path)}


def test_what_nothing_on_record_explains_is_said_in_one_line(tmp_path: Path) -> None:
    round_journal, blobs, lease = journal(tmp_path)
    keeper = keep(FakeExecutor(blobs), tmp_path, round_journal, blobs)
    with pytest.raises(PbtDisentError, match=r"^checkpoint aaaaaaaaaaaa of round 0 is lost, .* then resume the run$"):
        keeper.restore("a" * 64, "0")
    assert [row["lost"] for row in incidents_of(tmp_path, "checkpoint_lost")] == ["a" * 64]
    lease.release()


def test_codes_that_are_lost_before_they_are_scored_end_the_run_in_one_line(tmp_path: Path) -> None:
    """They are of the generation that is not on record yet, which resuming trains again."""

    class Loses(FakeExecutor):
        def score(self, task: ScoreTask) -> list[MemberScore]:
            if task.generation == 1:
                raise CorruptBlob("blob cccccccccccc is missing from here", "c" * 64)
            return super().score(task)

    round_journal, blobs, lease = journal(tmp_path)
    keeper = keep(Loses(blobs), tmp_path, round_journal, blobs)
    with pytest.raises(PbtDisentError, match=r"is missing from here; resume the run: .* generation 1 of round 0 is"):
        run_population(spec(size=3, generations=2), keeper, round_journal, Watch())
    lease.release()
    round_journal, blobs, lease = journal(tmp_path)
    run_population(
        spec(size=3, generations=2), keep(FakeExecutor(blobs), tmp_path, round_journal, blobs), round_journal, Watch()
    )
    assert len(read(tmp_path)) == 2
    lease.release()
