"""Under what conditions a benchmark ran: the machine, its measured limits, and the versions of what was compared."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from benchmarks.limits import matrix_gflops, memory_gigabytes
from pbt_disent.machine import usable_cpus, usable_memory
from pbt_disent.types import Json

__all__ = ["machine", "versions"]

PACKAGES = ("pbt-disent", "torch", "numpy", "scipy", "scikit-learn", "pillow", "ray", "mlflow", "pythae")


def machine() -> Json:
    """Return what the benchmark runs on, with the rate of its matrix product and of its memory, on all threads."""
    import torch

    return {
        "processor": _processor(),
        "cpus": usable_cpus(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(usable_memory() / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "platform": platform.platform(),
        "load_before": round(os.getloadavg()[0], 2),
        "matrix_gflops": round(matrix_gflops(), 1),
        "memory_gigabytes_per_second": round(memory_gigabytes(), 1),
    }


def versions() -> dict[str, str | None]:
    """Return the version of Python and of each package; none where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
