"""The command line as a user runs it: real processes, real Ray, real signals, on a run of seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from pbt_disent import api
from pbt_disent.config import load_config
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from tests.population.fakes import Watch, manifests
from tests.test_pipeline import TINY

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FILES = ("lineage.jsonl", "rounds.jsonl", "labels/labels.parquet", "model/model.safetensors", "model/model.json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(load_config(None, TINY).dump()))
    return folder


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> RunFolder:
    """The same run in this process, never stopped, without Ray."""
    folder = create_run(load_config(place / "tiny.yaml"), "tiny", place / "reference", None)
    api.execute(api.prepare(folder), Watch(), api.InProcess())
    return folder


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    """Start the command line in a process of its own; what is left of it after the test is ended."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        command = [sys.executable, "-m", "pbt_disent", *arguments, "--runs", "runs"]
        started.append(
            subprocess.Popen(
                command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def still_there(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=seconds)[1]


def assert_equal(run: Path, other: RunFolder) -> None:
    assert manifests(run) == manifests(other.path)
    for name in FILES:
        assert (run / name).read_bytes() == (other.path / name).read_bytes(), name


def test_kill_minus_nine_in_the_second_round_and_resume(start: Start, place: Path, undisturbed: RunFolder) -> None:
    run = place / "runs" / "killed"
    process = start("run", "tiny.yaml", "--name", "killed")
    wait_for(run / "rounds/0/leaf1/1/generation-0000.json", process)
    children = family(process)
    assert any("raylet" in child.name() for child in children)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (run / "model").exists()
    assert still_there(children, 30) == []
    resumed = start("resume", "killed")
    output = resumed.communicate(timeout=200)[0]
    assert resumed.returncode == 0, output
    assert "Traceback" not in output
    assert "on record" in output
    assert_equal(run, undisturbed)
    assert json.loads((run / "scores.json").read_text())["true_factors"]["per_factor"]
    assert "<html" in (run / "report.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_cleanly_and_soon(
    start: Start, place: Path, undisturbed: RunFolder, number: signal.Signals
) -> None:
    name = f"stopped-{number.name}"
    run = place / "runs" / name
    process = start("run", "tiny.yaml", "--name", name, "--set", "population.image_passes_per_generation=100000")
    wait_for(run / "spool.jsonl", process)
    deadline = time.monotonic() + 120
    while not (run / "blobs").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    children = family(process)
    process.send_signal(number)
    begun = time.monotonic()
    output = process.communicate(timeout=60)[0]
    assert time.monotonic() - begun < 10, output
    assert process.returncode == 130, output
    assert f"pbt-disent resume {run}" in output
    assert "Traceback" not in output
    assert still_there(children, 2) == []


def test_a_second_driver_on_a_live_run_is_refused(start: Start, place: Path) -> None:
    process = start("run", "tiny.yaml", "--name", "live", "--set", "population.image_passes_per_generation=100000")
    wait_for(place / "runs" / "live" / "lease.json", process)
    second = start("resume", "live")
    output = second.communicate(timeout=100)[0]
    assert second.returncode == 2, output
    assert f"is held by a live driver (pid {process.pid}" in output
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130


def test_two_runs_side_by_side(start: Start, place: Path, undisturbed: RunFolder) -> None:
    both = [start("run", "tiny.yaml", "--name", name, "--cpus", "1") for name in ("left", "right")]
    for process in both:
        output = process.communicate(timeout=250)[0]
        assert process.returncode == 0, output
    for name in ("left", "right"):
        assert_equal(place / "runs" / name, undisturbed)
