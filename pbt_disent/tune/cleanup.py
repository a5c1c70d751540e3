"""Ends what a Ray leaves behind: a small process of its own that outlives a driver that was killed.

Ray's daemons go down with the driver, but some of its agents and workers take a minute to notice. They are told from
all other processes by the private folder in which they keep their logs open. Only the standard library is used, so
that the process starts in no time; run as a script, it waits for its standard input to end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["CleanupProcess", "end_processes", "processes_using"]

KILL_SECONDS = 10.0


class CleanupProcess:
    """Starts a process that ends what uses a folder, and deletes it, when this process closes it or dies, however.

    Args:
        folder: The private folder of a Ray, which is deleted at the end.
    """

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", "-S", __file__, str(folder), str(os.getpid())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def close(self) -> None:
        """Let it do its work, and wait until it is done."""
        self._process.communicate()


def processes_using(folder: Path) -> list[int]:
    """Return the ids of this user's processes, other than this one, that have a file open in a folder."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _has_file_open(entry / "fd", folder)
    ]


def _has_file_open(descriptors: Path, folder: Path) -> bool:
    prefix = f"{folder}{os.sep}"
    try:
        return any(os.readlink(descriptor).startswith(prefix) for descriptor in descriptors.iterdir())
    except OSError:
        return False


def end_processes(folder: Path, grace_seconds: float, spare: int | None = None) -> None:
    """Wait for the processes that use a folder to end by themselves, then kill them.

    Args:
        folder: The private folder of a Ray.
        grace_seconds: How many seconds to wait before they are killed.
        spare: The id of a process that is left alone: the driver, which has its log open there.
    """
    start = time.monotonic()
    while pids := [pid for pid in processes_using(folder) if pid != spare]:
        waited = time.monotonic() - start
        if waited > grace_seconds:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        if waited > grace_seconds + KILL_SECONDS:
            return
        time.sleep(0.05)


def main() -> None:
    """Wait for the driver's end, then leave nothing of its Ray."""
    folder, driver = Path(sys.argv[1]), int(sys.argv[2])
    sys.stdin.buffer.read()
    end_processes(folder, 0.0, spare=driver)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
