"""Asynchronous training: nobody waits for the slowest, every turn is on record once, a crash costs a window at most."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from pbt_disent.config import load_config
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.population.engine import PopulationResult, run_population
from pbt_disent.population.executor import OnDone, Stopped
from pbt_disent.population.manifest import Manifest, MemberRecord
from pbt_disent.population.spec import RoundSpec
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.tasks import TrainOutcome, TrainTask
from tests.population.fakes import Crash, FakeExecutor, Outcome, Watch, failed, journal, spec

SIZE, GENERATIONS, SLOW = 5, 6, 4


class Unequal(FakeExecutor):
    """Member 4 is not done before the others have had six more turns, or wait for it."""

    def __init__(self, blobs: BlobStore, special: Outcome = lambda task: None) -> None:
        super().__init__(blobs, special)
        self.at_once = self.most = 0
        self.done = 0
        self._turn = threading.Condition()

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        with self._turn:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        with self._turn:
            if tasks[0].key.member == SLOW:
                enough = self.done + 6
                self._turn.wait_for(lambda: self.done >= enough, timeout=0.5)
        time.sleep(0.002)
        with self._turn:
            self.at_once -= 1
            self.done += 1
            self._turn.notify_all()
            return super().train(tasks, on_done)


def asynchronous() -> RoundSpec:
    return spec(size=SIZE, generations=GENERATIONS, cutoff=0.4, mode="asynchronous")


def run(
    folder: Path, special: Outcome = lambda task: None, die_at: tuple[int, str] | None = None
) -> tuple[list[Manifest], Unequal, PopulationResult]:
    round_journal, blobs, lease = journal(folder)
    executor = Unequal(blobs, special)
    try:
        result = run_population(asynchronous(), executor, round_journal, Watch(die_at))
    finally:
        lease.release()
    return read(folder), executor, result


def read(folder: Path) -> list[Manifest]:
    return [Manifest.from_bytes(path.read_bytes()) for path in sorted(folder.rglob("generation-*.json"))]


def turns(history: list[Manifest]) -> list[MemberRecord]:
    """Return the record of every turn, each once."""
    found = []
    for manifest in history:
        assert manifest.window is not None
        found += [
            *manifest.window.superseded,
            *(r for r in manifest.members if r.member not in manifest.window.waiting),
        ]
    return found


def test_fast_members_have_more_turns_and_all_turns_are_on_record_once(tmp_path: Path) -> None:
    history, executor, result = run(tmp_path)
    assert len(history) == GENERATIONS
    assert result.reason == "max_generations"
    counted = Counter(record.member for record in turns(history))
    assert sum(counted.values()) == SIZE * GENERATIONS == len({task.key for task in executor.tasks}) // 2
    assert counted[SLOW] < min(count for member, count in counted.items() if member != SLOW)
    assert history[-1].window is not None
    assert history[-1].window.turns == tuple(counted[member] for member in range(SIZE))
    assert executor.most == SIZE, "all members train at once"
    assert result.image_passes == history[-1].image_passes == sum(record.image_passes for record in turns(history))
    for manifest in history:
        assert [record.member for record in manifest.members] == list(range(SIZE))
        assert [assignment.member for assignment in manifest.next] == list(range(SIZE))


def test_a_task_is_named_by_its_members_own_turn(tmp_path: Path) -> None:
    _, executor, _ = run(tmp_path)
    for member in range(SIZE):
        own = [
            task.key.generation for task in executor.tasks if task.key.member == member and task.key.replicas == (0,)
        ]
        assert own == list(range(len(own)))


def test_the_worst_copy_the_best_as_results_come(tmp_path: Path) -> None:
    history, executor, _ = run(tmp_path)
    copies = [record for record in turns(history) if record.operation == "exploit"]
    assert len(copies) >= GENERATIONS // 2, "how many depends on who ends when: 5 to 8 of 30 turns as a rule"
    assert all(record.parent != record.member for record in copies)
    written = {
        digest: record.member for record in turns(history) for digest in record.checkpoints
    }  # a copy starts from what its parent has written
    starts = [(t.key.member, written[t.origins[0]]) for t in executor.tasks if t.origins[0] is not None]
    assert sum(member != origin for member, origin in starts) >= 2 * len(copies) * 0.9
    middle = [statistics.median(record.score or 0 for record in manifest.members) for manifest in history]
    assert max(middle[1:]) > middle[0]


def test_only_needed_checkpoints_are_left(tmp_path: Path) -> None:
    """`FakeExecutor` itself asserts that no origin was collected."""
    history, *_ = run(tmp_path)
    blobs = BlobStore(tmp_path / "blobs")
    wanted = {digest for manifest in history[-2:] for record in manifest.members for digest in record.checkpoints}
    wanted |= {digest for assignment in history[-1].next for digest in assignment.origins if digest}
    best = max((m.best for m in history if m.best), key=lambda record: record.score or 0)
    checkpoints = {digest for record in turns(history) for digest in record.checkpoints}
    assert blobs.digests() & checkpoints <= wanted | set(best.checkpoints)
    assert wanted <= blobs.digests()
    assert not blobs.digests() & {digest for record in turns(history) for digest in record.codes}


@pytest.mark.parametrize(("generation", "phase"), [(0, "decided"), (2, "trained"), (3, "committed")])
def test_a_crash_costs_a_window_at_most(tmp_path: Path, generation: int, phase: str) -> None:
    with pytest.raises(Crash):
        run(tmp_path, die_at=(generation, phase))
    before = read(tmp_path)
    assert len(before) == generation + (phase == "committed")
    after, executor, _ = run(tmp_path)
    assert after[: len(before)] == before
    assert len(after) == GENERATIONS
    assert len(executor.tasks) == 2 * SIZE * (GENERATIONS - len(before))
    if before:
        for task in executor.tasks[:SIZE]:
            planned = before[-1].next[task.key.member]
            if before[-1].window and task.key.generation == before[-1].window.turns[task.key.member]:
                assert task.hyperparameters == planned.hyperparameters
                assert task.origins == (planned.origins[task.key.replicas[0]],)


def test_the_lineage_tells_every_turn_once(tmp_path: Path) -> None:
    history, *_ = run(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "lineage.jsonl").read_text().splitlines()]
    assert sum(row["event"] == "trained" for row in rows) == SIZE * GENERATIONS
    assert sum(row["event"] == "born" for row in rows) == SIZE
    copies = [record for record in turns(history) if record.operation == "exploit"]
    assert sum(row["event"] == "replaced" for row in rows) == len(copies)


def test_a_member_without_a_score_copies_another(tmp_path: Path) -> None:
    def special(task: TrainTask) -> TrainOutcome | None:
        return failed(task, "nan") if task.key.member == 1 and task.key.generation == 2 else None

    history, *_ = run(tmp_path, special)
    own = [record for record in turns(history) if record.member == 1]
    assert own[2].score is None
    assert (own[3].operation, own[3].score is not None) == ("exploit", True)


def test_when_all_fail_or_stop_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(PbtDisentError, match=r"every member of round 0 failed.*made to fail"):
        run(tmp_path / "failed", failed)

    def stop(task: TrainTask) -> TrainOutcome | None:
        if task.key.generation == 1:
            raise Stopped("the run was asked to stop")
        return None

    with pytest.raises(Stopped):
        run(tmp_path / "stopped", stop)
    assert len(run(tmp_path / "stopped")[0]) == GENERATIONS


class FastFailure(FakeExecutor):
    """From its second turn on member 0 fails at once, while all others take their time."""

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        key = tasks[0].key
        if key.member == 0 and key.generation:
            return [failed(task) for task in tasks]
        time.sleep(0.1)
        return super().train(tasks, on_done)


def test_a_window_of_failures_of_one_member_ends_nothing_for_the_others(tmp_path: Path) -> None:
    round_journal, blobs, lease = journal(tmp_path)
    run_population(asynchronous(), FastFailure(blobs), round_journal, Watch())
    lease.release()
    history = read(tmp_path)
    assert len(history) == GENERATIONS
    assert any(all(record.status == "failed" for record in manifest.trained_records) for manifest in history)


def test_synchronous_manifests_know_no_windows(tmp_path: Path) -> None:
    round_journal, blobs, lease = journal(tmp_path)
    run_population(spec(generations=1), FakeExecutor(blobs), round_journal, Watch())
    lease.release()
    assert b"window" not in next(tmp_path.rglob("generation-0000.json")).read_bytes()


@pytest.mark.parametrize("more", ["population.fitness.against=population", "population.oversize=2", "final.oversize=2"])
def test_what_needs_all_members_at_once_is_refused(more: str) -> None:
    with pytest.raises(UserError, match=r"population\.mode: must be synchronous where"):
        load_config("demo", ["population.mode=asynchronous", more])
