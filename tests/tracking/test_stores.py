"""The stores that a run may be recorded in, as they are: a server with a password, one that dies, and PostgreSQL."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pbt_disent.errors import PbtDisentError
from pbt_disent.tracking.tracking_store import TRACKING_URI
from pbt_disent.tracking.uploader import sync
from pbt_disent.tracking.writer import MlflowWriter
from tests.conftest import missing
from tests.simulated import simulate
from tests.tracking.servers import Server, postgres, postgres_programs, running, wait_for_writers

Play = Callable[..., None]
PATIENCE = 90.0
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for a password."""
    if importlib.util.find_spec("flask_wtf") is None:
        missing("auth", "mlflow[auth] is not installed")
    with running(Server(tmp_path_factory.mktemp("server"), "a-long-pass-word")) as running_server:
        yield running_server


@pytest.fixture
def trusted(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The same server, and its password in the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", str(server.password))
    return server


def recorded(store: str, name: str) -> list[Run]:
    """Return the runs of a run of ours, runs in the database itself."""
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("pbt-disent/dots")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.run = '{name}'"))


def steps(store: str, run: Run) -> list[int]:
    name = "population/image_passes" if run.data.tags["kind"] == "round" else "lineage/image_passes"
    return [point.step for point in MlflowClient(tracking_uri=store).get_metric_history(run.info.run_id, name)]


def settle(writer: MlflowWriter) -> None:
    until = time.monotonic() + PATIENCE
    while writer.pending().records and time.monotonic() < until:
        time.sleep(0.1)
    assert writer.pending().records == 0


def test_a_server_with_a_password_named_in_the_environment(
    trusted: Server, run_folder: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACKING_URI, trusted.uri)
    (run_folder / "report.html").write_text("<p>found</p>")
    with MlflowWriter(run_folder, None, "welcome", "dots") as writer:
        assert writer.description == f"MLflow at {trusted.uri} (from {TRACKING_URI})"
        play(writer, simulate(members=3, generations=2))
        writer.finish()
    assert writer.pending().records == 0
    runs = recorded(trusted.store, "welcome")
    assert len(runs) == 4
    assert all(steps(trusted.store, run) == [0, 1] for run in runs)
    (parent,) = [run for run in runs if run.data.tags["kind"] == "round"]
    assert "report.html" in {entry.path for entry in MlflowClient(trusted.uri).list_artifacts(parent.info.run_id)}


def test_a_password_that_is_wrong_is_one_line_and_training_goes_on(
    server: Server, run_folder: Path, play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "guessed")
    with caplog.at_level(logging.WARNING):
        writer = MlflowWriter(run_folder, server.uri, "stranger", "dots")
        play(writer, simulate(members=2, generations=2))
        until = time.monotonic() + PATIENCE
        while not caplog.records and time.monotonic() < until:
            time.sleep(0.1)
        left = writer.close(1)
    wait_for_writers()
    assert left.records == 3
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("MLflow is behind, training goes on: it asks for another user or password (401)")
    assert "MLFLOW_TRACKING_USERNAME" in line
    assert "\n" not in line
    with pytest.raises(PbtDisentError, match=r"lacks 3 records: it asks for another user or password \(401\)"):
        sync(run_folder)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", str(server.password))
    sync(run_folder)
    assert len(recorded(server.store, "stranger")) == 3


def test_a_server_that_dies_and_comes_back_has_everything(
    trusted: Server, run_folder: Path, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    manifests = simulate(members=3, generations=6)
    writer = MlflowWriter(run_folder, trusted.uri, "survivor", "dots")
    play(writer, manifests[:2], reason=None)
    settle(writer)
    trusted.kill()
    play(writer, manifests[:4], reason=None, done=2)
    until = time.monotonic() + PATIENCE
    while writer.pending().failure is None and time.monotonic() < until:
        time.sleep(0.05)
    assert writer.pending().records == 2
    assert "training goes on: it does not answer" in caplog.text
    trusted.start()
    play(writer, manifests, done=4)
    assert writer.close(PATIENCE).records == 0
    runs = recorded(trusted.store, "survivor")
    assert len(runs) == 4, "no run was made twice"
    assert all(steps(trusted.store, run) == list(range(6)) for run in runs)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_server_that_is_dead_at_the_end_gets_the_rest_by_sync(trusted: Server, run_folder: Path, play: Play) -> None:
    manifests = simulate(members=2, generations=3)
    writer = MlflowWriter(run_folder, trusted.uri, "later", "dots")
    play(writer, manifests[:1], reason=None)
    settle(writer)
    trusted.kill()
    play(writer, manifests, done=1)
    assert writer.close(2).records == 3
    wait_for_writers()
    trusted.start()
    sync(run_folder)
    runs = recorded(trusted.store, "later")
    assert len(runs) == 3
    assert all(steps(trusted.store, run) == [0, 1, 2] for run in runs)


def test_a_store_in_postgresql(run_folder: Path, play: Play, tmp_path_factory: pytest.TempPathFactory) -> None:
    programs = postgres_programs()
    if programs is None or importlib.util.find_spec("psycopg") is None:
        missing("postgres", "PostgreSQL or psycopg is not installed (apt-get install postgresql)")
    assert programs is not None
    base = Path("/tmp") if os.geteuid() == 0 else tmp_path_factory.mktemp("postgres")
    folder = base / f"pbt-disent-postgres-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        with postgres(programs, folder) as uri:
            with MlflowWriter(run_folder, uri, "elephant", "dots") as writer:
                play(writer, simulate(members=3, generations=3))
            assert writer.pending().records == 0
            runs = recorded(uri, "elephant")
            assert len(runs) == 4
            assert all(steps(uri, run) == [0, 1, 2] for run in runs)
            (run_folder / "spool.ack").unlink()
            sync(run_folder, uri)
            assert {run.info.run_id for run in recorded(uri, "elephant")} == {run.info.run_id for run in runs}
    finally:
        shutil.rmtree(folder)


def test_a_store_that_is_not_writable_is_one_line(
    ready_folder: Path, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    import sqlite3

    with sqlite3.connect(ready_folder / "mlflow.db") as database:  # as a disk that was mounted to be read only
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON experiments BEGIN SELECT RAISE(ABORT, 'readonly'); END"
        )
    writer = MlflowWriter(ready_folder, None, "one", "dots")
    play(writer, simulate(members=2, generations=1))
    left = writer.close(5)
    assert left.records == 2
    assert left.failure is not None
    assert "\n" not in left.failure
