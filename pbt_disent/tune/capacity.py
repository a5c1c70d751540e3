"""What a run may take of this machine or of a cluster, and how many workers that makes."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pbt_disent.config import ResourcesConfig
from pbt_disent.errors import UserError
from pbt_disent.machine import usable_cpus, usable_memory, visible_gpus
from pbt_disent.tune.slots import SLOT_CPUS

__all__ = ["Capacity", "NodeResources", "cluster_capacity", "plan_capacity", "workers_of"]

WORKERS_PER_GPU = 4
SPARE_CPUS = 0.01
BASE_GIB = 1.5
WORKER_GIB = 0.6
OBJECT_STORE_BYTES = 150_000_000
SHARED_MEMORY = "/dev/shm"


NodeResources = Mapping[str, float]
"""What a node of a cluster has, as Ray names it: ``CPU``, ``GPU`` and more."""


@dataclass(frozen=True)
class Capacity:
    """How a run is laid out on a machine or a cluster.

    Args:
        cpus: CPUs that its Ray has.
        gpus: GPUs that its Ray has.
        workers: worker processes at most.
        worker_cpus: CPUs that each asks for: a little less than its share, so that slots always find a place.
        worker_gpus: GPUs that each asks for.
        object_store_bytes: small, for results are digests, and images lie in it only where that is asked for.
    """

    cpus: int
    gpus: int
    workers: int
    worker_cpus: float
    worker_gpus: float
    object_store_bytes: int = OBJECT_STORE_BYTES


def plan_capacity(resources: ResourcesConfig, slots: int, images: int = 0) -> Capacity:
    """Lay a run out: one worker per CPU, or up to four per GPU where there are GPUs.

    Args:
        resources: caps; what is none is what the machine allows.
        slots: how many thin slots the run has.
        images: bytes of images that the object store is to hold.

    Raises:
        UserError: more GPUs than there are, or too little memory for one worker or for the images.
    """
    cpus = min(resources.cpus or math.inf, usable_cpus())
    present = visible_gpus()
    gpus = present if resources.gpus is None else resources.gpus
    if gpus > present:
        raise UserError(f"resources.gpus={gpus}", f"must be at most {present}, the GPUs visible here", "ask for fewer")
    _check_share(resources, gpus, "here")
    per_gpu = (_per_gpu(resources) or max(1, min(WORKERS_PER_GPU, int(cpus) // gpus))) if gpus else 0
    workers = gpus * per_gpu or int(cpus)
    if resources.memory_gib is not None:
        base = BASE_GIB + images / 2**30
        fitting = math.floor((resources.memory_gib - base) / WORKER_GIB)
        if fitting < 1:
            least = math.ceil(100 * (base + WORKER_GIB)) / 100
            raise UserError(
                f"resources.memory_gib={resources.memory_gib:g}", f"must be at least {least:g}", "allow more memory"
            )
        workers = min(workers, fitting)
    store = OBJECT_STORE_BYTES + images
    if images and store > (room := _store_room()):
        raise UserError(
            "resources.images=object-store",
            f"needs {store / 1e9:.2f} GB of shared memory, and there are {max(room, 0) / 1e9:.2f} GB for it",
            "say resources.images=disk, or enlarge /dev/shm (docker run --shm-size)",
        )
    share = min(1.0, cpus / workers) - SLOT_CPUS * slots - SPARE_CPUS
    if share <= 0:
        raise UserError(
            f"resources.gpu_per_worker={resources.gpu_per_worker}",
            f"makes {workers} workers, more than {int(cpus)} CPUs can feed",
            "give each worker a larger share",
        )
    return Capacity(int(cpus), gpus, workers, round(share, 4), _fraction(per_gpu), store)


def cluster_capacity(resources: ResourcesConfig, slots: int, nodes: Sequence[NodeResources]) -> Capacity:
    """Lay a run out on the nodes that a cluster has now: one worker per CPU, or up to four per GPU where it has some.

    Args:
        resources: caps over all nodes; what is none is all that they have.
        slots: how many thin slots the run has.
        nodes: what each living node has.

    Raises:
        UserError: more is asked for than there is, or there is nothing to work with.
    """
    if resources.memory_gib is not None:
        raise UserError(
            f"resources.memory_gib={resources.memory_gib:g}",
            "caps a Ray of the run's own, and this run joins one",
            "leave it out: the nodes have limits of their own",
        )
    cpus, gpus = (sum(int(node.get(kind, 0)) for node in nodes) for kind in ("CPU", "GPU"))
    for kind, asked, present in (("cpus", resources.cpus, cpus), ("gpus", resources.gpus, gpus)):
        if asked is not None and asked > present:
            raise UserError(
                f"resources.{kind}={asked}",
                f"must be at most {present}, the {kind[:-1].upper()}s of the cluster",
                "ask for fewer, or let more nodes join",
            )
    gpus = gpus if resources.gpus is None else resources.gpus
    _check_share(resources, gpus, "in the cluster")
    fraction, most = 0.0, 1.0
    if gpus:
        scarcest = min(node.get("CPU", 0) / int(node["GPU"]) for node in nodes if node.get("GPU", 0) >= 1)
        per_gpu = _per_gpu(resources) or max(1, min(WORKERS_PER_GPU, int(scarcest)))
        fraction, most = _fraction(per_gpu), min(1.0, scarcest / per_gpu)
    share = most - SLOT_CPUS * slots - SPARE_CPUS
    capacity = Capacity(cpus, gpus, 0, round(share, 4), fraction)
    workers = workers_of(capacity, resources, nodes)
    if not workers or capacity.worker_cpus <= 0:
        raise UserError("the cluster", "has no CPU to train on", "let nodes with CPUs join it")
    return replace(capacity, workers=workers)


def workers_of(capacity: Capacity, resources: ResourcesConfig, nodes: Sequence[NodeResources]) -> int:
    """Return how many workers of a run that is laid out find a place on these nodes, within its caps."""
    if not capacity.worker_gpus:
        cpus = sum(int(node.get("CPU", 0)) for node in nodes)
        return cpus if resources.cpus is None else min(cpus, resources.cpus)
    per_gpu = int(1 / capacity.worker_gpus)
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    return per_gpu * (gpus if resources.gpus is None else min(gpus, resources.gpus))


def _per_gpu(resources: ResourcesConfig) -> int:
    """Return how many workers share a GPU where that was said, else 0."""
    return 0 if resources.gpu_per_worker is None else int(1 / resources.gpu_per_worker + 1e-6)


def _fraction(per_gpu: int) -> float:
    """Return what each of some workers takes of a GPU; Ray counts in ten-thousandths and must not come out short."""
    return math.floor(1000 / per_gpu) / 1000 if per_gpu else 0.0


def _check_share(resources: ResourcesConfig, gpus: int, where: str) -> None:
    if resources.gpu_per_worker is not None and not gpus:
        raise UserError(
            f"resources.gpu_per_worker={resources.gpu_per_worker:g}",
            f"needs a GPU, and none is used {where}",
            "leave it out to train on CPUs",
        )


def _store_room() -> int:
    """Return how many bytes an object store may have: free shared memory, and memory that a worker can spare."""
    shared = shutil.disk_usage(SHARED_MEMORY).free if os.path.isdir(SHARED_MEMORY) else usable_memory()
    return min(shared, usable_memory() - int((BASE_GIB + WORKER_GIB) * 2**30))
