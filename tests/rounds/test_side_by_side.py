"""Leaf runs side by side: they do train at the same time, and arrive where they arrive one after the other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pbt_disent.population.executor import OnDone, Stopped
from pbt_disent.rounds.side_by_side import side_by_side
from pbt_disent.training.tasks import TrainOutcome, TrainTask
from tests.population.fakes import Crash, Watch, manifests
from tests.rounds.test_method import Oracle, run

BOTH = "resources.rounds_at_once=2"


class Meeting(Oracle):
    """The first generation of each leaf run is not done before that of the other has begun."""

    meeting = threading.Barrier(2, timeout=30)
    _turn = threading.Lock()

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        key = tasks[0].key
        if key.generation == 0 and key.round in {"0/leaf1/1", "0/leaf2/1"}:
            self.meeting.wait()
        with self._turn:
            return super().train(tasks, on_done)

    def stop(self) -> None:
        self.meeting.abort()


def test_leaf_runs_train_at_the_same_time_and_nothing_else_changes(tmp_path: Path) -> None:
    alone = run(tmp_path / "alone")
    together = run(tmp_path / "together", Meeting, None, BOTH)
    assert manifests(tmp_path / "together") == manifests(tmp_path / "alone")
    labels = [(tmp_path / name / "labels.parquet").read_bytes() for name in ("alone", "together")]
    assert labels[0] == labels[1]
    assert [leaf.reason for leaf in together.leaves] == [leaf.reason for leaf in alone.leaves]
    assert together.images == alone.images
    for log in ("lineage.jsonl", "rounds.jsonl"):
        rows = [sorted((tmp_path / name / log).read_text().splitlines()) for name in ("alone", "together")]
        assert rows[0] == rows[1]


def test_a_crash_in_one_ends_both_and_changes_nothing(tmp_path: Path) -> None:
    class Dying(Watch):
        def notify(self, event: object) -> None:
            if getattr(event, "path", "") == "0/leaf2/1" and getattr(event, "name", "") == "scored":
                raise Crash

    run(tmp_path / "alone")
    with pytest.raises(Crash):
        run(tmp_path / "crashed", Meeting, Dying(), BOTH)
    Meeting.meeting.reset()
    run(tmp_path / "crashed", Oracle, None, BOTH)
    assert manifests(tmp_path / "crashed") == manifests(tmp_path / "alone")


def test_results_come_in_order_and_what_failed_by_itself_is_raised() -> None:
    gate, stopped = threading.Event(), threading.Event()

    def first() -> str:
        gate.wait(10)
        return "first"

    def second() -> str:
        gate.set()
        return "second"

    def stop() -> None:
        raise AssertionError("nobody failed")

    assert side_by_side([first, second], 2, stop) == ["first", "second"]

    def waits() -> str:
        stopped.wait(10)
        raise Stopped("the run was asked to stop")

    def fails() -> str:
        raise ValueError("by itself")

    with pytest.raises(ValueError, match="by itself"):
        side_by_side([waits, fails, waits, waits], 2, stopped.set)


def test_one_at_a_time_is_this_thread() -> None:
    threads: list[int] = []
    side_by_side([lambda: threads.append(threading.get_ident())] * 3, 1, lambda: None)
    assert threads == [threading.get_ident()] * 3
