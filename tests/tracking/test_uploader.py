"""Pending generations are sent together, and uploads are throttled so that the writer is rarely busy."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pbt_disent.tracking import uploader
from pbt_disent.tracking.spool import SpooledRecord
from pbt_disent.tracking.uploader import Uploader, batches, sync
from pbt_disent.tracking.writer import MlflowWriter
from pbt_disent.types import Json
from tests.simulated import simulate

Play = Callable[..., None]


def generation(path: str, members: int = 2, metrics: int = 3) -> Json:
    member = {"metrics": {f"m{number}": 0.0 for number in range(metrics)}}
    return {"kind": "generation", "path": path, "identity": "x", "members": [member] * members}


def batch_sizes(*contents: Json) -> list[int]:
    records = [SpooledRecord(content, end) for end, content in enumerate(contents)]
    return [len(batch) for batch in batches(records)]


def test_generations_of_one_round_go_together_and_nothing_else_does() -> None:
    finished = {"kind": "finished", "path": "0", "identity": "x"}
    assert batch_sizes() == []
    assert batch_sizes(generation("0"), generation("0"), generation("0/leaf"), finished, finished) == [2, 1, 1, 1]
    assert batch_sizes({"kind": "run"}, generation("0"), {**generation("0"), "identity": "y"}) == [1, 1, 1]


def test_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploader, "_MAX_BATCH_METRICS", 12)
    assert batch_sizes(*[generation("0")] * 5) == [2, 2, 1]
    assert batch_sizes(*[generation("0", members=9)] * 2) == [1, 1], "one generation goes however large it is"


def test_an_upload_is_followed_by_a_pause_a_hundred_times_as_long_and_at_most_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploader, "MAX_THROTTLE_SECONDS", 60.0)
    assert uploader.throttle_seconds(0.25) == 25.0
    assert uploader.throttle_seconds(30.0) == 60.0


def test_generations_sent_together_leave_what_they_leave_one_by_one(
    ready_folder: Path, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = simulate(members=3, generations=4, failing=[(1, 2)])
    calls: list[str] = []
    log_batch = MlflowClient.log_batch

    def counted(self: MlflowClient, run_id: str, **options: object) -> object:
        calls.append(run_id)
        return log_batch(self, run_id, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    with monkeypatch.context() as patched:
        patched.setattr(Uploader, "upload", lambda *_: None)
        with MlflowWriter(ready_folder, None, "one", "dots") as writer:
            play(writer, manifests)

    def recorded(store: Path, max_metrics: int) -> dict[str, object]:
        shutil.copy(ready_folder / "mlflow.db", store)
        with monkeypatch.context() as patched:
            patched.setattr(uploader, "_MAX_BATCH_METRICS", max_metrics)
            sync(ready_folder, f"sqlite:///{store}")
        client = MlflowClient(tracking_uri=f"sqlite:///{store}")
        experiment = client.get_experiment_by_name("pbt-disent/dots")
        assert experiment is not None
        runs = {}
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
            runs[str(run.info.run_name)] = (points, run.data.params, tags, run.data.metrics)
        return runs

    together = recorded(tmp_path / "together.db", 10**6)
    once = len(calls)
    calls.clear()
    assert recorded(tmp_path / "singly.db", 1) == together
    assert len(together) == 4
    assert (once, len(calls)) == (4 + 1, 4 * 4 + 1), "a call for each run and, behind them, one for the end"


def test_the_writer_pauses_after_an_upload_and_a_close_ends_the_pause(
    run_folder: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader, "throttle_seconds", lambda _: 600.0)
    uploaded: list[threading.Event] = [threading.Event() for _ in range(3)]
    calls: list[None] = []

    def upload(_self: Uploader, _should_continue: object) -> None:
        calls.append(None)
        uploaded[len(calls) - 1].set()

    monkeypatch.setattr(Uploader, "upload", upload)
    manifests = simulate(members=2, generations=3)
    writer = MlflowWriter(run_folder, None, "one", "dots")
    play(writer, manifests[:1], reason=None)
    assert uploaded[0].wait(60)
    play(writer, manifests[:2], reason=None, done=1)
    assert uploaded[1].wait(60), "the first upload is followed by no pause"
    play(writer, manifests, reason=None, done=2)
    assert not uploaded[2].wait(0.2), "it pauses"
    writer.close(60)
    assert uploaded[2].is_set()
