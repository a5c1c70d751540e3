"""What a run may take of this machine or of a cluster, and how many workers that makes. Imports no ray."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pbt_disent.config import ResourcesConfig
from pbt_disent.errors import UserError
from pbt_disent.machine import usable_cpus, usable_memory, visible_gpus

__all__ = ["TRIAL_CPUS", "Allocation", "NodeResources", "allocate_cluster", "allocate_machine", "count_workers"]

TRIAL_CPUS = 0.001
"""CPUs that a trial asks for: it only waits."""

MAX_WORKERS_PER_GPU = 4
SPARE_CPUS = 0.01
BASE_GIB = 1.5
WORKER_GIB = 0.6
OBJECT_STORE_BYTES = 150_000_000
SHARED_MEMORY = "/dev/shm"


NodeResources = Mapping[str, float]
"""What a node of a cluster has, as Ray names it: ``CPU``, ``GPU`` and more."""


@dataclass(frozen=True)
class Allocation:
    """The resources of a run on a machine or a cluster.

    Args:
        cpus: The number of CPUs that the run's Ray has.
        gpus: The number of GPUs that the run's Ray has.
        workers: The largest number of worker processes.
        worker_cpus: The CPUs that each worker asks for: a little less than its share, so that trials always find a
            place.
        worker_gpus: The GPUs that each worker asks for, often a fraction.
        object_store_bytes: The size of Ray's object store. It is small, for results are digests, and images lie in it
            only where that is asked for.
    """

    cpus: int
    gpus: int
    workers: int
    worker_cpus: float
    worker_gpus: float
    object_store_bytes: int = OBJECT_STORE_BYTES


def allocate_machine(resources: ResourcesConfig, num_trials: int, image_bytes: int = 0) -> Allocation:
    """Allocate resources of this machine: one worker per CPU, or up to four per GPU where there are GPUs.

    Args:
        resources: The limits that the user has set. What is `None` is what the machine allows.
        num_trials: The number of Tune trials of the run.
        image_bytes: The size of the images that the object store is to hold.

    Returns:
        The allocation.

    Raises:
        UserError: More GPUs than there are, or too little memory for one worker or for the images.
    """
    cpus = min(resources.cpus or math.inf, usable_cpus())
    visible = visible_gpus()
    gpus = visible if resources.gpus is None else resources.gpus
    if gpus > visible:
        raise UserError(f"resources.gpus={gpus}", f"must be at most {visible}, the GPUs visible here", "ask for fewer")
    _check_gpu_share(resources, gpus, "here")
    per_gpu = (_workers_per_gpu(resources) or max(1, min(MAX_WORKERS_PER_GPU, int(cpus) // gpus))) if gpus else 0
    workers = gpus * per_gpu or int(cpus)
    if resources.memory_gib is not None:
        base = BASE_GIB + image_bytes / 2**30
        fitting = math.floor((resources.memory_gib - base) / WORKER_GIB)
        if fitting < 1:
            needed = math.ceil(100 * (base + WORKER_GIB)) / 100
            raise UserError(
                f"resources.memory_gib={resources.memory_gib:g}", f"must be at least {needed:g}", "allow more memory"
            )
        workers = min(workers, fitting)
    object_store_bytes = OBJECT_STORE_BYTES + image_bytes
    if image_bytes and object_store_bytes > (room := _object_store_room()):
        raise UserError(
            "resources.images=object-store",
            f"needs {object_store_bytes / 1e9:.2f} GB of shared memory, and there are {max(room, 0) / 1e9:.2f} GB for"
            " it",
            "set resources.images=disk, or enlarge /dev/shm (docker run --shm-size)",
        )
    worker_cpus = min(1.0, cpus / workers) - TRIAL_CPUS * num_trials - SPARE_CPUS
    if worker_cpus <= 0:
        raise UserError(
            f"resources.gpu_per_worker={resources.gpu_per_worker}",
            f"makes {workers} workers, more than {int(cpus)} CPUs can feed",
            "give each worker a larger share",
        )
    return Allocation(int(cpus), gpus, workers, round(worker_cpus, 4), _gpu_fraction(per_gpu), object_store_bytes)


def allocate_cluster(resources: ResourcesConfig, num_trials: int, nodes: Sequence[NodeResources]) -> Allocation:
    """Allocate resources of a cluster's nodes: one worker per CPU, or up to four per GPU where there are GPUs.

    Args:
        resources: The limits that the user has set over all nodes. What is `None` is all that the nodes have.
        num_trials: The number of Tune trials of the run.
        nodes: The resources of each living node.

    Returns:
        The allocation.

    Raises:
        UserError: More is asked for than there is, or there is nothing to work with.
    """
    if resources.memory_gib is not None:
        raise UserError(
            f"resources.memory_gib={resources.memory_gib:g}",
            "caps a Ray of the run's own, and this run joins one",
            "leave it out: the nodes have limits of their own",
        )
    cpus, gpus = (sum(int(node.get(kind, 0)) for node in nodes) for kind in ("CPU", "GPU"))
    for kind, limit, available in (("cpus", resources.cpus, cpus), ("gpus", resources.gpus, gpus)):
        if limit is not None and limit > available:
            raise UserError(
                f"resources.{kind}={limit}",
                f"must be at most {available}, the {kind[:-1].upper()}s of the cluster",
                "ask for fewer, or let more nodes join",
            )
    gpus = gpus if resources.gpus is None else resources.gpus
    _check_gpu_share(resources, gpus, "in the cluster")
    worker_gpus, worker_cpus = 0.0, 1.0
    if gpus:
        cpus_per_gpu = min(node.get("CPU", 0) / int(node["GPU"]) for node in nodes if node.get("GPU", 0) >= 1)
        per_gpu = _workers_per_gpu(resources) or max(1, min(MAX_WORKERS_PER_GPU, int(cpus_per_gpu)))
        worker_gpus, worker_cpus = _gpu_fraction(per_gpu), min(1.0, cpus_per_gpu / per_gpu)
    worker_cpus -= TRIAL_CPUS * num_trials + SPARE_CPUS
    allocation = Allocation(cpus, gpus, 0, round(worker_cpus, 4), worker_gpus)
    workers = count_workers(allocation, resources, nodes)
    if not workers or allocation.worker_cpus <= 0:
        raise UserError("the cluster", "has no CPU to train on", "let nodes with CPUs join it")
    return replace(allocation, workers=workers)


def count_workers(allocation: Allocation, resources: ResourcesConfig, nodes: Sequence[NodeResources]) -> int:
    """Return how many workers of a run find a place on some nodes, within the limits that the user has set.

    Args:
        allocation: The allocation of the run, which says what each worker asks for.
        resources: The limits that the user has set.
        nodes: The resources of each node.

    Returns:
        The number of workers.
    """
    if not allocation.worker_gpus:
        cpus = sum(int(node.get("CPU", 0)) for node in nodes)
        return cpus if resources.cpus is None else min(cpus, resources.cpus)
    per_gpu = int(1 / allocation.worker_gpus)
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    return per_gpu * (gpus if resources.gpus is None else min(gpus, resources.gpus))


def _workers_per_gpu(resources: ResourcesConfig) -> int:
    """Return how many workers share a GPU where the user has said so, else 0."""
    return 0 if resources.gpu_per_worker is None else int(1 / resources.gpu_per_worker + 1e-6)


def _gpu_fraction(per_gpu: int) -> float:
    """Return what each of some workers takes of a GPU; Ray counts in ten-thousandths and must not come out short."""
    return math.floor(1000 / per_gpu) / 1000 if per_gpu else 0.0


def _check_gpu_share(resources: ResourcesConfig, gpus: int, where: str) -> None:
    if resources.gpu_per_worker is not None and not gpus:
        raise UserError(
            f"resources.gpu_per_worker={resources.gpu_per_worker:g}",
            f"needs a GPU, and none is used {where}",
            "leave it out to train on CPUs",
        )


def _object_store_room() -> int:
    """Return how many bytes an object store may have: free shared memory, and memory that a worker can spare."""
    shared = shutil.disk_usage(SHARED_MEMORY).free if os.path.isdir(SHARED_MEMORY) else usable_memory()
    return min(shared, usable_memory() - int((BASE_GIB + WORKER_GIB) * 2**30))
