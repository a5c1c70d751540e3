"""Members that come to nothing: not finite, out of memory; and clocks that jump."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from pbt_disent.errors import UserError
from pbt_disent.population.events import Event, Phase
from pbt_disent.population.executor import InProcessExecutor
from pbt_disent.population.manifest import Manifest
from pbt_disent.store.lease import Lease
from pbt_disent.training.tasks import TrainOutcome, TrainTask, WorkerContext
from tests.faults.small_population import run_in_child, train_population
from tests.population.fakes import failed, manifests
from tests.population.test_engine import run

ALL = range(6)


def read(folder: Path, generation: int) -> Manifest:
    return Manifest.from_bytes((folder / f"rounds/0/generation-{generation:04d}.json").read_bytes())


@pytest.mark.parametrize("broken", [[2], [0, 2, 4], list(ALL)], ids=["one", "half", "all"])
def test_members_that_are_not_finite_are_replaced_and_the_run_goes_on(tmp_path: Path, broken: list[int]) -> None:
    def special(task: TrainTask) -> TrainOutcome | None:
        return failed(task, "nan") if task.key.generation == 1 and task.key.member in broken else None

    run(tmp_path, special)
    rows = [json.loads(line) for line in (tmp_path / "lineage.jsonl").read_text().splitlines()]
    happened = {(row["generation"], row["member"]) for row in rows if row["event"] == "failed"}
    assert happened == {(1, member) for member in broken}
    for member in broken:
        record, replacement = read(tmp_path, 1).members[member], read(tmp_path, 1).next[member]
        assert (record.status, record.score, record.checkpoints) == ("nan", None, ())
        if len(broken) == len(ALL):
            assert (replacement.operation, replacement.parent) == ("restart", None)
        else:
            assert replacement.operation == "exploit"
            assert replacement.parent not in broken
    assert len(manifests(tmp_path)) == 4
    assert all(record.score is not None for record in read(tmp_path, 2).members)


class JumpingClock:
    """Sets the clock of this process back or forth by a day at every phase."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch, self._folder, self._offset = monkeypatch, folder, 86_400.0
        self.offsets: list[float] = []

    def notify(self, event: Event) -> None:
        if not isinstance(event, Phase):
            return
        real, offset = time.time_ns, self._offset
        self._patch.setattr(time, "time", lambda: real() / 1e9 + offset)
        self.offsets.append(time.time() - real() / 1e9)
        self._offset = -offset
        with pytest.raises(UserError, match="held by a live driver"):
            Lease(self._folder / "lease.json")


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pbt_disent.population.engine import run_population
    from tests.population.fakes import FakeExecutor, journal, spec

    run(tmp_path / "undisturbed")
    round_journal, blobs, lease = journal(tmp_path / "jumps")
    clock = JumpingClock(monkeypatch, tmp_path / "jumps")
    run_population(spec(), FakeExecutor(blobs), round_journal, clock)  # type: ignore[arg-type]
    lease.check()
    lease.release()
    assert {round(offset) for offset in clock.offsets} == {86_400, -86_400}
    assert manifests(tmp_path / "jumps") == manifests(tmp_path / "undisturbed")


def test_a_clock_that_jumps_takes_no_foreign_driver_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lease.json"
    lease = Lease(path)
    holder = json.loads(path.read_bytes())
    path.write_text(json.dumps({**holder, "machine": "another", "heartbeat": holder["heartbeat"] - 86_400}))
    monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9 + 86_400)
    with pytest.raises(UserError, match="held by a live driver"):
        Lease(path)
    lease._released.set()


@pytest.mark.slow
def test_a_member_that_takes_all_memory_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    """In a process that may have 300 MB more, and in which one member really asks for 4 GB."""

    class HungryExecutor(InProcessExecutor):
        def __init__(self, context: WorkerContext) -> None:
            super().__init__(context)
            train = self._trainer.train

            def hungry(task: TrainTask) -> TrainOutcome:
                if (task.key.generation, task.key.member) == (1, 1):
                    np.ones(4 * 2**30, dtype=np.uint8)
                return train(task)

            self._trainer.train = hungry  # type: ignore[method-assign]

    def work() -> None:
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, resource.RLIM_INFINITY))
        train_population(tmp_path, make_executor=HungryExecutor)

    train_population(tmp_path / "warm up")
    assert run_in_child(work) == 0
    record = read(tmp_path, 1).members[1]
    assert (record.status, record.score) == ("failed", None)
    assert "out of memory: Unable to allocate 4.00 GiB" in str(record.error)
    assert read(tmp_path, 1).next[1].operation == "exploit"
    assert [record.status for record in read(tmp_path, 2).members] == ["ok"] * 3
