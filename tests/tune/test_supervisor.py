"""The supervisor of a submitted run: what it starts, when it starts it again, and when it gives up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pbt_disent.config import load_config
from pbt_disent.store.runs import create_run
from pbt_disent.tune.supervisor import BACKOFF_SECONDS, STOPPED, build_command, supervise
from tests.test_pipeline import TINY


class FakeAttempts:
    """Attempts that end with these codes, and numbers of committed generations that grow as given."""

    def __init__(self, codes: list[int], committed: list[int] | None = None, stop_after: int | None = None) -> None:
        self.codes, self.committed = codes, committed or [0] * 100
        self.waited: list[float] = []
        self.log: list[str] = []
        self.count = 0
        self.stop_after = stop_after

    def attempt(self) -> int:
        self.count += 1
        return self.codes[self.count - 1]

    def wait(self, seconds: float) -> bool:
        if seconds:
            self.waited.append(seconds)
        return self.stop_after is not None and self.count >= self.stop_after

    def run(self, retries: int = 3) -> int:
        return supervise(self.attempt, lambda: self.committed[self.count], self.wait, self.log.append, retries)


@pytest.mark.parametrize("code", [0, 2, 130])
def test_what_ended_well_was_stopped_or_is_wrong_is_not_tried_again(code: int) -> None:
    attempts = FakeAttempts([code])
    assert attempts.run() == code
    assert (attempts.count, attempts.waited) == (1, [])


def test_what_failed_is_tried_again_after_ever_longer_waits() -> None:
    attempts = FakeAttempts([1, -9, 1, 0])
    assert attempts.run() == 0
    assert attempts.waited == list(BACKOFF_SECONDS[:3])
    assert "ended by signal 9" in attempts.log[1]
    assert attempts.log[0].endswith("retry 1 of 3 in 5 s")


def test_it_gives_up_where_retries_bring_nothing() -> None:
    attempts = FakeAttempts([1, 1, -11])
    assert attempts.run(retries=2) == 1
    assert attempts.count == 3
    assert attempts.log[-1] == "supervisor: ended by signal 11; 2 restarts in a row committed nothing"


def test_progress_refills_the_budget() -> None:
    attempts = FakeAttempts([1] * 6 + [0], committed=[0, 1, 2, 3, 4, 5, 6, 7])
    assert attempts.run(retries=1) == 0
    assert attempts.waited == [BACKOFF_SECONDS[0]] * 6


def test_told_to_stop_it_tries_no_more() -> None:
    attempts = FakeAttempts([1, 1, 1], stop_after=2)
    assert attempts.run() == STOPPED
    assert attempts.count == 2


@pytest.fixture(params=["folder", "objects"])
def runs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PBT_DISENT_CACHE", str(tmp_path / "cache"))
    return str(tmp_path / "runs") if request.param == "folder" else request.getfixturevalue("objects").format("jobs")


def test_it_runs_a_new_run_resumes_one_on_record_and_leaves_another_one_of_that_name_alone(
    runs: str, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(load_config(None, TINY).dump()))
    base = [sys.executable, "-m", "pbt_disent"]
    assert build_command(file, "one", runs, []) == [*base, "run", str(file), "--name", "one", "--runs", runs]
    create_run(load_config(str(file)), "tiny", runs if "://" in runs else Path(runs), "one")
    assert build_command(file, "one", runs, ["--set", "x=1"]) == [
        *base,
        "resume",
        "one",
        "--runs",
        runs,
        "--set",
        "x=1",
    ]
    assert build_command(None, "one", runs, []) == [*base, "resume", "one", "--runs", runs]
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(load_config(None, [*TINY, "seed=6"]).dump()))
    assert build_command(other, "one", runs, [])[3] == "run"


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_request_to_end_reaches_the_run(tmp_path: Path) -> None:
    """A stand-in for the package, put before it on the path, notes what it is told."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "sitecustomize.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        "if 'resume' in sys.orig_argv:\n"
        f"    place = pathlib.Path({str(tmp_path)!r})\n"
        "    signal.signal(signal.SIGTERM, lambda *_: ((place / 'told').touch(), os._exit(130)))\n"
        "    (place / 'begun').touch()\n"
        "    time.sleep(60)\n"
    )
    arguments = [sys.executable, "-m", "pbt_disent.tune.supervisor", "run", "--runs", str(tmp_path / "runs")]
    paths = os.pathsep.join([str(tmp_path / "fake"), str(Path(__file__).parents[2])])
    with subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE) as process:
        wait_for((tmp_path / "begun").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == STOPPED
    assert (tmp_path / "told").exists()
