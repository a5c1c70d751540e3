"""The resources that a run is allocated on a machine and on a cluster."""

from __future__ import annotations

import pytest

from pbt_disent.config import ResourcesConfig
from pbt_disent.errors import UserError
from pbt_disent.tune import resources as module
from pbt_disent.tune.resources import allocate_cluster, allocate_machine, count_workers


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with 16 CPUs and 2 GPUs."""
    monkeypatch.setattr(module, "usable_cpus", lambda: 16)
    monkeypatch.setattr("pbt_disent.machine._installed_gpus", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "workers", "worker_gpus"),
    [
        (ResourcesConfig(gpus=0), 16, 0, 16, 0.0),
        (ResourcesConfig(gpus=0, cpus=3), 3, 0, 3, 0.0),
        (ResourcesConfig(gpus=0, cpus=99), 16, 0, 16, 0.0),
        (ResourcesConfig(), 16, 2, 8, 0.25),
        (ResourcesConfig(gpus=1), 16, 1, 4, 0.25),
        (ResourcesConfig(gpus=1, cpus=3), 3, 1, 3, 0.333),
        (ResourcesConfig(cpus=1), 1, 2, 2, 1.0),
        (ResourcesConfig(gpu_per_worker=0.25), 16, 2, 8, 0.25),
        (ResourcesConfig(gpu_per_worker=0.1, gpus=1), 16, 1, 10, 0.1),
        (ResourcesConfig(gpu_per_worker=0.3, gpus=1), 16, 1, 3, 0.333),
        (ResourcesConfig(gpu_per_worker=1), 16, 2, 2, 1.0),
        (ResourcesConfig(gpu_per_worker=0.25, gpus=1, cpus=2), 2, 1, 4, 0.25),
        (ResourcesConfig(gpus=0, memory_gib=3.4), 16, 0, 3, 0.0),
    ],
)
def test_allocation(
    machine: pytest.MonkeyPatch, resources: ResourcesConfig, cpus: int, gpus: int, workers: int, worker_gpus: float
) -> None:
    allocation = allocate_machine(resources, 8)
    assert (allocation.cpus, allocation.gpus, allocation.workers, allocation.worker_gpus) == (
        cpus,
        gpus,
        workers,
        worker_gpus,
    )
    assert allocation.workers * allocation.worker_cpus + 8 * 0.001 <= allocation.cpus
    assert allocation.workers * allocation.worker_gpus <= allocation.gpus


def test_more_gpus_than_there_are(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(
        UserError, match=r"^resources\.gpus=2: must be at most 1, the GPUs visible here; ask for fewer$"
    ):
        allocate_machine(ResourcesConfig(gpus=2), 8)


@pytest.mark.parametrize("gpus", [0, None])
def test_a_share_of_a_gpu_needs_one(machine: pytest.MonkeyPatch, gpus: int | None) -> None:
    machine.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(
        UserError, match=r"^resources\.gpu_per_worker=0\.25: needs a GPU, and none is used here; leave it out to train"
    ):
        allocate_machine(ResourcesConfig(gpu_per_worker=0.25, gpus=gpus), 8)
    with pytest.raises(UserError, match="none is used in the cluster"):
        allocate_cluster(ResourcesConfig(gpu_per_worker=0.5), 8, [{"CPU": 4.0}])


def test_more_workers_than_cpus_can_feed(machine: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^resources\.gpu_per_worker=0\.005: makes 200 workers, more than 2 CPUs"):
        allocate_machine(ResourcesConfig(gpu_per_worker=0.005, gpus=1, cpus=2), 8)


@pytest.mark.parametrize(("share", "workers", "fraction"), [(None, 12, 0.25), (0.5, 6, 0.5), (1.0, 3, 1.0)])
def test_a_cluster_shares_its_gpus(share: float | None, workers: int, fraction: float) -> None:
    nodes = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 4.0}]
    allocation = allocate_cluster(ResourcesConfig(gpu_per_worker=share), 8, nodes)
    assert allocation.worker_gpus == fraction
    assert allocation.workers == 3 * int(1 / fraction) == workers
    grown = [*nodes, {"CPU": 8.0, "GPU": 1.0}]
    assert count_workers(allocation, ResourcesConfig(gpu_per_worker=share), grown) == allocation.workers + int(
        1 / fraction
    )


def test_too_little_memory_for_a_worker(machine: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^resources\.memory_gib=1: must be at least 2\.1"):
        allocate_machine(ResourcesConfig(memory_gib=1), 8)


def test_the_object_store_grows_by_the_images_that_it_holds(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(module, "_object_store_room", lambda: 4_000_000_000)
    plain, holding = (allocate_machine(ResourcesConfig(), 8, images) for images in (0, 3_000_000_000))
    assert holding.object_store_bytes - plain.object_store_bytes == 3_000_000_000
    assert holding.workers == plain.workers
    with pytest.raises(UserError, match=r"object-store: needs 4\.15 GB of shared memory, and there are 4\.00 GB"):
        allocate_machine(ResourcesConfig(), 8, 4_000_000_000)


def test_images_in_the_object_store_leave_less_memory_for_workers(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(module, "_object_store_room", lambda: 4 * 2**30)
    assert allocate_machine(ResourcesConfig(gpus=0, memory_gib=3.4), 8, 2**30).workers == 1
    with pytest.raises(UserError, match=r"^resources\.memory_gib=3: must be at least 3\.1"):
        allocate_machine(ResourcesConfig(gpus=0, memory_gib=3), 8, 2**30)
