"""What a local run may take of this machine, and how many workers that makes."""

from __future__ import annotations

import ctypes
import math
import os
from dataclasses import dataclass

from pbt_disent.config import ResourcesConfig
from pbt_disent.errors import UserError
from pbt_disent.machine import usable_cpus
from pbt_disent.tune.slots import SLOT_CPUS

__all__ = ["Capacity", "plan_capacity", "visible_gpus"]

WORKERS_PER_GPU = 4
SPARE_CPUS = 0.01
BASE_GIB = 1.5
WORKER_GIB = 0.6
OBJECT_STORE_BYTES = 150_000_000


@dataclass(frozen=True)
class Capacity:
    """How a run is laid out on a machine.

    Args:
        cpus: CPUs that its Ray has.
        gpus: GPUs that its Ray has.
        workers: worker processes at most.
        worker_cpus: CPUs that each asks for: a little less than its share, so that slots always find a place.
        worker_gpus: GPUs that each asks for.
        object_store_bytes: small, for data is memory-mapped and results are digests.
    """

    cpus: int
    gpus: int
    workers: int
    worker_cpus: float
    worker_gpus: float
    object_store_bytes: int = OBJECT_STORE_BYTES


def plan_capacity(resources: ResourcesConfig, slots: int) -> Capacity:
    """Lay a run out: one worker per CPU, or up to four per GPU where there are GPUs.

    Args:
        resources: caps; what is none is what the machine allows.
        slots: how many thin slots the run has.

    Raises:
        UserError: more GPUs than there are, or too little memory for one worker.
    """
    cpus = min(resources.cpus or math.inf, usable_cpus())
    present = visible_gpus()
    gpus = present if resources.gpus is None else resources.gpus
    if gpus > present:
        raise UserError(f"resources.gpus={gpus}", f"must be at most {present}, the GPUs visible here", "ask for fewer")
    per_gpu = max(1, min(WORKERS_PER_GPU, int(cpus) // gpus)) if gpus else 0
    workers = gpus * per_gpu or int(cpus)
    if resources.memory_gib is not None:
        fitting = math.floor((resources.memory_gib - BASE_GIB) / WORKER_GIB)
        if fitting < 1:
            least = BASE_GIB + WORKER_GIB
            raise UserError(
                f"resources.memory_gib={resources.memory_gib:g}", f"must be at least {least:g}", "allow more memory"
            )
        workers = min(workers, fitting)
    share = min(1.0, cpus / workers) - SLOT_CPUS * slots - SPARE_CPUS
    fraction = math.floor(1000 / per_gpu) / 1000 if gpus else 0.0
    return Capacity(int(cpus), gpus, workers, round(share, 4), fraction)


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
