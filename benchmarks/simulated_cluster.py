"""A cluster of several nodes on this machine, to which nodes are added while a run is on.

Each node is a raylet of its own with CPUs that Ray only counts, so that tasks which sleep find what a real cluster
would give them: another node, another worker, the same driver.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

from ray.cluster_utils import Cluster

from pbt_disent.config import ResourcesConfig
from pbt_disent.errors import PbtDisentError
from pbt_disent.population.executor import Executor
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.tune.cluster import private_folder, process_token, reread_environment
from pbt_disent.tune.executor import RayExecutor
from pbt_disent.tune.launch import launch
from pbt_disent.tune.worker import TrainerFactory

__all__ = ["run_on_nodes"]

STORE_BYTES = 80_000_000
START_TIMEOUT = 120.0
ENVIRONMENT = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_TMPDIR")

T = TypeVar("T")


def run_on_nodes(
    sizes: Sequence[int],
    warm_up: Callable[[Executor, int], object],
    work: Callable[[Executor, int], T],
    context: WorkerContext,
    trainer: TrainerFactory,
    max_members: int,
) -> list[T]:
    """Do work on ever more nodes of one CPU each, within one run that the nodes join, and return the results by size.

    Args:
        sizes: The numbers of nodes, in ascending order.
        warm_up: A function of an executor and the number of nodes that gives tasks to all of them. It is called until
            every node has a worker.
        work: A function of the same that is called then, and whose result is returned.
        context: The context of the run's workers.
        trainer: The trainer of the workers.
        max_members: The number of members of the largest population.

    Raises:
        PbtDisentError: A node did not become a worker.
    """
    with _cluster() as cluster:

        def main(executor: Executor) -> list[T]:
            results = []
            for size in sizes:
                while len(cluster.list_all_nodes()) < size:
                    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
                _wait_for_workers(cast("RayExecutor", executor), size, warm_up)
                results.append(work(executor, size))
            return results

        resources = ResourcesConfig(address=cluster.address)
        return launch(context, resources, "nodes", main, max_members, max_trials=2, make_trainer=trainer)


def _wait_for_workers(executor: RayExecutor, workers: int, warm_up: Callable[[Executor, int], object]) -> None:
    """Warm up until every node has a worker; the pool looks for new nodes every few seconds."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        warm_up(executor, workers)
        if executor.statistics()[0].alive >= workers:
            return
        if time.monotonic() > deadline:
            raise PbtDisentError(f"there are no {workers} workers after {START_TIMEOUT:.0f} s")


@contextlib.contextmanager
def _cluster() -> Iterator[Any]:
    """Start a cluster of one node, with this process's token."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    with private_folder() as folder:
        values = ("token", process_token(), str(folder))
        os.environ.update(dict(zip(ENVIRONMENT, values, strict=True)))
        reread_environment()
        node = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        cluster: Any = Cluster(initialize_head=True, head_node_args=node)
        try:
            yield cluster
        finally:
            cluster.shutdown()
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            reread_environment()
