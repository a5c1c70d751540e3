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

__all__ = ["Reaper", "processes_of", "reap"]

REAP_SECONDS = 10.0


class Reaper:
    """Starts the process; it acts when this object is closed or when this process dies, however it dies.

    Args:
        folder: private folder of a Ray.
    """

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", "-S", __file__, str(folder), str(os.getpid())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def close(self) -> None:
        """Have it act, and wait until it is done."""
        self._process.communicate()


def processes_of(folder: Path) -> list[int]:
    """Return the ids of this user's processes, other than this one, that have a file open in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _uses(entry / "fd", folder):
            found.append(int(entry.name))
    return found


def _uses(descriptors: Path, folder: Path) -> bool:
    prefix = f"{folder}{os.sep}"
    try:
        return any(os.readlink(descriptor).startswith(prefix) for descriptor in descriptors.iterdir())
    except OSError:
        return False


def reap(folder: Path, patience: float, spare: int | None = None) -> None:
    """Wait so many seconds for a folder's processes to end by themselves, then kill them.

    Args:
        folder: the private folder.
        patience: seconds.
        spare: id of the driver, which has its log open there.
    """
    begun = time.monotonic()
    while pids := [pid for pid in processes_of(folder) if pid != spare]:
        if (waited := time.monotonic() - begun) > patience:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        if waited > patience + REAP_SECONDS:
            return
        time.sleep(0.05)


def main() -> None:
    """Wait for the driver's end, then leave nothing of its Ray."""
    folder, driver = Path(sys.argv[1]), int(sys.argv[2])
    sys.stdin.buffer.read()
    reap(folder, 0.0, spare=driver)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
