"""Run an engine on a Ray of its own (started before it, stopped with it, whatever ends it), or on one that it joins."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TypeVar

from pbt_disent.config import ResourcesConfig
from pbt_disent.data.storage import StoredImages
from pbt_disent.machine import usable_cpus
from pbt_disent.population.executor import Executor
from pbt_disent.store.filesystem import is_uri
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.tune.address import address_to_join
from pbt_disent.tune.cluster import joined_cluster
from pbt_disent.tune.executor import RayExecutor
from pbt_disent.tune.experiment import CurrentExperiment, ExperimentThread, JoinedCluster
from pbt_disent.tune.nodes import check_nodes, node_resources
from pbt_disent.tune.resources import Allocation, allocate_cluster, allocate_machine, count_workers
from pbt_disent.tune.worker import TrainerFactory, WorkerFactory

__all__ = ["MAX_TRIALS", "launch"]

MAX_TRIALS = 8
"""A trial takes two seconds of CPU time to start; members beyond the trials share them without loss."""

TUNE_FOLDER = ".tune"

T = TypeVar("T")


def launch(
    context: WorkerContext,
    resources: ResourcesConfig,
    run_name: str,
    main: Callable[[Executor], T],
    max_population: int,
    *,
    max_trials: int = MAX_TRIALS,
    make_trainer: TrainerFactory | None = None,
) -> T:
    """Start or join Ray, run `main` with an executor on it, and end or leave Ray.

    `main` starts at once, in the calling thread; its first call to the executor waits until Ray is up. SIGINT and
    SIGTERM make the executor's calls raise `Stopped`, and are handled as before once `launch` has returned.

    Args:
        context: What the workers need to know. Its device is replaced by ``cuda`` where GPUs are used.
        resources: The Ray to join, if any, and limits on what is taken of it or of this machine.
        run_name: The name of the run, which names its actors.
        main: The engine.
        max_population: The number of members of the largest population.
        max_trials: The largest number of Tune trials that carry the members. There is at most one per member and, on
            this machine, one per CPU.
        make_trainer: Makes a trainer in place of the real one, for tests and benchmarks.

    Returns:
        What `main` returns.

    Raises:
        UserError: The resources are not there, or the Ray to join is not there or not fit.
        Stopped: `main` was interrupted by a signal.
        PbtDisentError: Ray did not start, or was lost for good.
    """
    address = address_to_join(resources.address)
    num_trials = max(1, min(max_trials, max_population))
    with contextlib.ExitStack() as stack:
        joined = None
        if address is None:
            num_trials = min(num_trials, resources.cpus or usable_cpus())
            image_bytes = StoredImages(context.images_dir).array.nbytes if resources.images == "object-store" else 0
            allocation = allocate_machine(resources, num_trials, image_bytes)
        else:
            allocation, joined = stack.enter_context(_join(address, resources, run_name, num_trials, context.store))
        if allocation.gpus:
            context = replace(context, device="cuda")
        current = CurrentExperiment()
        executor = RayExecutor(current, num_trials, allocation.workers)
        thread = ExperimentThread(
            current,
            run_name,
            allocation,
            num_trials,
            initial_workers=min(allocation.workers, max_population),
            worker_factory=WorkerFactory(context, allocation.worker_cpus, allocation.worker_gpus, make_trainer),
            images=resources.images,
            joined=joined,
        )
        with _on_signals(executor.stop):
            thread.start()
            try:
                return main(executor)
            finally:
                thread.close()


@contextlib.contextmanager
def _join(
    address: str, resources: ResourcesConfig, run_name: str, num_trials: int, store: str
) -> Iterator[tuple[Allocation, JoinedCluster]]:
    """Connect to a Ray that runs already, see that its nodes can work on the run, and allocate their resources."""
    allow_unauthenticated = resources.allow_unauthenticated
    with joined_cluster(address, run_name, allow_unauthenticated=allow_unauthenticated):
        check_nodes(store, allow_unauthenticated=allow_unauthenticated)
        allocation = allocate_cluster(resources, num_trials, node_resources())
        # Trials have no checkpoints, so Tune's files need not be seen by all nodes.
        folder = Path(tempfile.mkdtemp(prefix="pbtd-tune-")) if is_uri(store) else Path(store).parent / TUNE_FOLDER
        try:
            yield allocation, JoinedCluster(folder, partial(count_workers, allocation, resources))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call `stop`; in any thread but the first, Python allows no handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop()

    handlers = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
