"""What this process may use of the machine: processors, memory, disk."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["usable_cpus", "usable_memory"]


def usable_cpus() -> int:
    """Return how many processors this process may use: its affinity, cut by the control group's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, math.ceil(int(quota) / int(period))))


def usable_memory() -> int:
    """Return how many bytes of memory this process may use: the machine's, cut by the control group's limit."""
    import psutil

    total = int(psutil.virtual_memory().total)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return total if limit == "max" else min(total, int(limit))
