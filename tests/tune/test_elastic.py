"""A pool that grows with nodes that join and outlives those that leave, and a pool that falls silent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import _raylet
from ray.cluster_utils import Cluster

from pbt_disent.config import ResourcesConfig
from pbt_disent.population.executor import Executor, run_train_task
from pbt_disent.training.tasks import TrainOutcome, WorkerContext
from pbt_disent.tune import executor as module
from pbt_disent.tune import nodes
from pbt_disent.tune.cluster import private_folder, process_token
from pbt_disent.tune.executor import RayExecutor
from pbt_disent.tune.launch import launch
from pbt_disent.tune.messages import PoolStatistics
from tests.tune.fakes import FakeTrainer, train_tasks
from tests.tune.processes import kill_soon, ray_children, workers_on

pytestmark = pytest.mark.ray


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A node of one CPU, with a token, that others may join."""
    with private_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", process_token())  # Ray reads it once in a process, for all its clusters
        native: Any = _raylet
        native.Config.initialize("")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        head = cluster.head_node
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            reap_children(head)


def reap_children(node: Any) -> None:
    """Wait for the processes of a node that has ended, as Ray does not."""
    for info in (info for infos in node.all_processes.values() for info in infos):
        info.process.kill()
        info.process.wait(20)


def trained(folder: Path, generation: int, members: int) -> list[TrainOutcome]:
    """Return what one process makes of the same tasks."""
    (folder / "alone").mkdir(exist_ok=True)
    alone = FakeTrainer(WorkerContext(str(folder / "blobs"), str(folder / "alone")))
    tasks = train_tasks(generation, members, sleep=0.4)
    return [replace(run_train_task(alone, task), key=task.key) for task in tasks]  # type: ignore[arg-type]


def until(executor: RayExecutor, reached: Callable[[PoolStatistics], bool], generation: int) -> PoolStatistics:
    """Train until the workers are as they should be."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        executor.train(train_tasks(generation, 4, sleep=0.1), lambda outcome: None)
        statistics, _ = executor.statistics()
        if reached(statistics):
            return statistics
        generation += 1
    raise AssertionError(statistics)


def test_the_pool_grows_with_a_node_that_joins_and_goes_on_without_one_that_leaves(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "WATCH_SECONDS", 0.5)

    def main(executor: Executor) -> None:
        assert isinstance(executor, RayExecutor)
        executor.train(train_tasks(0, 2), lambda outcome: None)
        assert executor.statistics()[0].alive == 1
        joined = cluster.add_node(num_cpus=1)
        grown = until(executor, lambda now: now.alive == 2, 100)
        assert (grown.started, grown.lost) == (2, 0)
        ended = {name: list(infos) for name, infos in joined.all_processes.items()}

        def leave(pid: int) -> None:
            cluster.remove_node(joined, allow_graceful=False)

        leaving = kill_soon(workers_on(tmp_path, 5), leave)
        outcomes = executor.train(train_tasks(5, 8, sleep=0.4), lambda outcome: None)
        leaving.join()
        reap_children(SimpleNamespace(all_processes=ended))
        assert outcomes == trained(tmp_path, 5, 8)
        shrunk = until(executor, lambda now: now.alive == 1, 200)
        assert shrunk.lost >= 1
        assert shrunk.failures.keys() <= {"node"}, "a task that lost its node has lost nothing of its budget"

    context = WorkerContext(str(tmp_path / "blobs"), str(tmp_path))
    launch(
        context,
        ResourcesConfig(address=cluster.address, gpus=0),
        "elastic",
        main,
        8,
        max_trials=2,
        make_trainer=FakeTrainer,
    )


def test_a_pool_that_falls_silent_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPERIMENT_ANSWER_SECONDS", 3.0)
    stopped: list[int] = []

    def freeze(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)

    def main(executor: Executor) -> None:
        executor.train(train_tasks(0, 2), lambda outcome: None)
        pools = lambda: [pool.pid for pool in ray_children("ray::WorkerPool") if workers_on(tmp_path, 5)()]  # noqa: E731
        freezing = kill_soon(pools, freeze)
        outcomes = executor.train(train_tasks(5, 4, sleep=0.4), lambda outcome: None)
        freezing.join()
        assert len(stopped) == 1
        assert outcomes == trained(tmp_path, 5, 4)

    context = WorkerContext(str(tmp_path / "blobs"), str(tmp_path))
    launch(context, ResourcesConfig(cpus=2, gpus=0), "silent", main, 4, max_trials=2, make_trainer=FakeTrainer)
