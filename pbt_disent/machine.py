"""What this process may use of the machine: processors, memory, GPUs."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path

__all__ = ["usable_cpus", "usable_memory", "visible_gpus"]


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


def visible_gpus() -> int:
    """Return how many NVIDIA GPUs CUDA would show to this process, without importing torch."""
    present = _present_gpus()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or present == 0:
        return present
    names = 0
    for name in (part.strip() for part in chosen.split(",")):
        if not name.startswith(("GPU-", "MIG-")) and not (name.isdigit() and int(name) < present):
            break  # CUDA ignores everything behind the first name that is none
        names += 1
    return names


def _present_gpus() -> int:
    """Ask the driver's management library for the number of GPUs; none where there is no driver."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    if library.nvmlInit_v2() != 0:
        return 0
    try:
        return int(count.value) if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0 else 0
    finally:
        library.nvmlShutdown()
