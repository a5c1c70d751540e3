"""The clean-up process: ends what has a file open in a folder, and nothing else, when its parent is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from pbt_disent.tune.cleanup import CleanupProcess, end_processes, processes_using
from pbt_disent.tune.cluster import private_folder

HOLD = "import sys, time; file = open(sys.argv[1], 'w'); print('held', flush=True); time.sleep(60)"

DRIVER = """
import subprocess, sys, time
from pathlib import Path
from pbt_disent.tune.cleanup import CleanupProcess
folder = Path(sys.argv[1])
cleanup = CleanupProcess(folder)
child = subprocess.Popen([sys.executable, "-c", sys.argv[2], str(folder / "log")], start_new_session=True)
print(child.pid, cleanup._process.pid, flush=True)
time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_only_processes_with_a_file_open_there_are_found_and_ended(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own-not").mkdir()
    with hold(tmp_path / "own" / "log") as ours, hold(tmp_path / "own-not" / "log") as other:
        assert processes_using(tmp_path / "own") == [ours.pid]
        end_processes(tmp_path / "own", 0.0, spare=ours.pid)
        assert ours.poll() is None
        end_processes(tmp_path / "own", 0.0)
        assert ours.wait(5) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()


def test_a_killed_driver_leaves_neither_processes_nor_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    command = [sys.executable, "-c", DRIVER, str(folder), HOLD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        assert driver.stdout.readline() == "held\n"
        driver.kill()
    deadline = time.monotonic() + 10
    while (folder.exists() or any(map(_is_alive, pids))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not folder.exists()
    assert not [pid for pid in pids if _is_alive(pid)]


def test_a_closed_cleanup_spares_the_process_that_made_it(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    with (folder / "log").open("w"):
        CleanupProcess(folder).close()
    assert not folder.exists()


def test_a_private_folder_has_a_short_path_and_goes() -> None:
    with private_folder() as folder:
        assert len(str(folder)) <= 40
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
