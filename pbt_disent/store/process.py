"""Which process this is, and whether another one still lives; no clock is asked, for clocks jump."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from pbt_disent.types import Json

__all__ = ["is_here", "lives", "myself"]

BOOT = Path("/proc/sys/kernel/random/boot_id")
START_FIELD = 19
"""Of /proc/<pid>/stat behind the name: clock ticks between the machine's start and the process'."""


def myself() -> Json:
    """Describe this process so that another one can tell whether it lives."""
    return {"pid": os.getpid(), "started": _started(os.getpid()), "host": socket.gethostname(), "machine": _machine()}


def is_here(process: Json) -> bool:
    """Return whether a process ran on this machine, since its last start, among the processes that are seen here."""
    return bool(process.get("machine") == _machine())


def lives(process: Json) -> bool:
    """Return whether a process of this machine lives; its id may have been given to another one since."""
    return bool(_started(int(process["pid"])) == process["started"])


def _started(pid: int) -> int | None:
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = content.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[START_FIELD])


def _machine() -> str:
    return f"{BOOT.read_text(encoding='ascii').strip()}/{os.readlink('/proc/self/ns/pid')}"
