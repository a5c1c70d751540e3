"""Generations that wait are sent together, and the writer rests so that it is rarely busy."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pbt_disent.tracking import pace
from pbt_disent.tracking.delivery import Courier, sync
from pbt_disent.tracking.pace import grouped
from pbt_disent.tracking.spool import SpooledRecord
from pbt_disent.tracking.writer import MlflowWriter
from pbt_disent.types import Json
from tests.simulated import simulate

Play = Callable[..., None]


def generation(path: str, members: int = 2, metrics: int = 3) -> Json:
    one = {"metrics": {f"m{number}": 0.0 for number in range(metrics)}}
    return {"kind": "generation", "path": path, "identity": "x", "members": [one] * members}


def sizes(*contents: Json) -> list[int]:
    return [len(group) for group in grouped(SpooledRecord(one, place) for place, one in enumerate(contents))]


def test_generations_of_one_round_go_together_and_nothing_else_does() -> None:
    finished = {"kind": "finished", "path": "0", "identity": "x"}
    assert sizes() == []
    assert sizes(generation("0"), generation("0"), generation("0/leaf"), finished, finished) == [2, 1, 1, 1]
    assert sizes({"kind": "run"}, generation("0"), {**generation("0"), "identity": "y"}) == [1, 1, 1]


def test_what_is_held_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_MOST_POINTS", 12)
    assert sizes(*[generation("0")] * 5) == [2, 2, 1]
    assert sizes(*[generation("0", members=9)] * 2) == [1, 1], "one generation goes however large it is"


def test_a_rest_is_a_hundred_deliveries_long_and_at_most_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LONGEST_REST", 60.0)
    assert pace.rest(0.25) == 25.0
    assert pace.rest(30.0) == 60.0


def test_generations_sent_together_leave_what_they_leave_one_by_one(
    ready_folder: Path, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = simulate(members=3, generations=4, failing=[(1, 2)])
    calls: list[str] = []
    log_batch = MlflowClient.log_batch

    def counted(self: MlflowClient, run_id: str, **given: object) -> object:
        calls.append(run_id)
        return log_batch(self, run_id, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    with monkeypatch.context() as patched:
        patched.setattr(Courier, "deliver", lambda *_: None)
        with MlflowWriter(ready_folder, None, "one", "dots") as writer:
            play(writer, manifests)

    def recorded(store: Path, groups: int) -> dict[str, object]:
        shutil.copy(ready_folder / "mlflow.db", store)
        with monkeypatch.context() as patched:
            patched.setattr(pace, "_MOST_POINTS", groups)
            sync(ready_folder, f"sqlite:///{store}")
        client = MlflowClient(tracking_uri=f"sqlite:///{store}")
        experiment = client.get_experiment_by_name("pbt-disent/dots")
        assert experiment is not None
        found = {}
        for run in client.search_runs([experiment.experiment_id]):
            points = {
                name: [(p.step, p.value, p.timestamp) for p in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            }
            tags = {
                name: value
                for name, value in run.data.tags.items()
                if name not in {"mlflow.parentRunId", "mlflow.note.content"}
            }
            found[str(run.info.run_name)] = (points, run.data.params, tags, run.data.metrics)
        return found

    together = recorded(tmp_path / "together.db", 10**6)
    once = len(calls)
    calls.clear()
    assert recorded(tmp_path / "singly.db", 1) == together
    assert len(together) == 4
    assert (once, len(calls)) == (4 + 1, 4 * 4 + 1), "a call for each run and, behind them, one for the end"


def test_the_writer_rests_behind_a_delivery_and_a_close_wakes_it(
    run_folder: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "rest", lambda _: 600.0)
    delivered: list[threading.Event] = [threading.Event() for _ in range(3)]
    left: list[Sequence[int]] = []

    def deliver(_self: Courier, _go_on: object) -> None:
        left.append([])
        delivered[len(left) - 1].set()

    monkeypatch.setattr(Courier, "deliver", deliver)
    manifests = simulate(members=2, generations=3)
    writer = MlflowWriter(run_folder, None, "one", "dots")
    play(writer, manifests[:1], reason=None)
    assert delivered[0].wait(60)
    play(writer, manifests[:2], reason=None, done=1)
    assert delivered[1].wait(60), "the first delivery earns no rest"
    play(writer, manifests, reason=None, done=2)
    assert not delivered[2].wait(0.2), "it rests"
    writer.close(60)
    assert delivered[2].is_set()
