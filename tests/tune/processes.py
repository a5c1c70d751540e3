"""Finding and killing the processes of a Ray."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def ray_children(name: str) -> list[psutil.Process]:
    """Return this process' Ray processes whose title begins so."""
    matching = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(name):
                matching.append(process)
        except psutil.Error:
            continue
    return matching


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_soon(choose: Callable[[], list[int]], act: Callable[[int], object] = _kill) -> threading.Thread:
    """Kill the first process that `choose` returns, or do something else to it, as soon as it returns one.

    Join the thread to be sure.
    """

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not (pids := choose()):
            assert time.monotonic() < deadline, "there was nothing to kill"
            time.sleep(0.02)
        act(pids[0])

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def workers_on(attempts: Path, generation: int) -> Callable[[], list[int]]:
    """Return a function that returns the processes that have begun a task of a generation."""
    return lambda: [int(path.name.split("-")[0]) for path in attempts.glob(f"*-g{generation}")]
