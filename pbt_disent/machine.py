"""What this process may use of the machine: CPUs, memory and GPUs."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

__all__ = ["usable_cpus", "usable_memory", "visible_gpus"]

MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),  # control groups, version 2
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)
"""Read by hand: psutil knows no control groups, and Ray's reader of them is private and imports all of Ray."""


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use.

    This is the number of CPUs in its affinity mask, cut by the quota of its control group (version 1 or 2) and by
    ``LOKY_MAX_CPU_COUNT``.
    """
    import joblib  # a tenth of a second, which scikit-learn takes too

    return int(joblib.cpu_count())


def usable_memory() -> int:
    """Return how many bytes of memory this process may use: the machine's, cut by the limit of its control group."""
    import psutil

    total = int(psutil.virtual_memory().total)
    for path in MEMORY_LIMITS:
        try:
            limit = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        return total if limit == "max" else min(total, int(limit))
    return total


def visible_gpus() -> int:
    """Return the number of NVIDIA GPUs that CUDA would show to this process, without importing torch.

    CUDA_VISIBLE_DEVICES counts as it does for CUDA: everything behind the first name that is none is ignored.
    """
    installed = _installed_gpus()
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    if variable is None or installed == 0:
        return installed
    visible = 0
    for name in (part.strip() for part in variable.split(",")):
        if not name.startswith(("GPU-", "MIG-")) and not (name.isdigit() and int(name) < installed):
            break
        visible += 1
    return visible


def _installed_gpus() -> int:
    """Return the number of GPUs that the driver's management library (NVML) knows; 0 where there is no driver.

    Three of its functions are called by hand: neither ray nor mlflow nor torch depends on nvidia-ml-py, which would
    save five of these lines.
    """
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    if nvml.nvmlInit_v2() != 0:
        return 0
    count = ctypes.c_uint(0)
    try:
        return int(count.value) if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0 else 0
    finally:
        nvml.nvmlShutdown()
