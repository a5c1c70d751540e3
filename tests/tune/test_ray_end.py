"""However a driver ends, nothing of it stays, and the run beside it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.ray


def start(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.tune.driver", str(folder)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def until_ready(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    assert driver.stdout is not None
    assert driver.stdout.readline() == "READY\n"
    return psutil.Process(driver.pid).children(recursive=True)


def test_two_drivers_side_by_side_one_stopped_one_killed(tmp_path: Path) -> None:
    with start(tmp_path / "one") as one, start(tmp_path / "two") as two:
        try:
            assert one.stdout is not None
            of_one, of_two = until_ready(one), until_ready(two)
            assert min(len(of_one), len(of_two)) > 5
            assert not {process.pid for process in of_one} & {process.pid for process in of_two}

            begun = time.monotonic()
            os.killpg(one.pid, signal.SIGINT)  # as a terminal does
            printed = one.stdout.read()
            assert one.wait(10) == 0
            gone, alive = psutil.wait_procs(of_one, timeout=1)
            assert time.monotonic() - begun < 10
            assert printed == "STOPPED: the run was asked to stop\n"
            assert not alive
            assert len(gone) == len(of_one)

            assert two.poll() is None
            assert all(process.is_running() for process in of_two)
            two.kill()
            assert two.wait(10) == -signal.SIGKILL
            assert not psutil.wait_procs(of_two, timeout=10)[1]
        finally:
            for driver in (one, two):
                driver.kill()


def test_sigterm_ends_a_driver_as_cleanly(tmp_path: Path) -> None:
    with start(tmp_path / "one") as driver:
        try:
            assert driver.stdout is not None
            processes = until_ready(driver)
            begun = time.monotonic()
            driver.terminate()
            printed = driver.stdout.read()
            assert driver.wait(10) == 0
            assert time.monotonic() - begun < 10
            assert printed == "STOPPED: the run was asked to stop\n"
            assert not psutil.wait_procs(processes, timeout=1)[1]
        finally:
            driver.kill()
