"""Run an engine on a Ray of its own (started before it, stopped with it, whatever ends it), or on one that it joins."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
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
from pbt_disent.tune.capacity import Capacity, cluster_capacity, plan_capacity, workers_of
from pbt_disent.tune.cluster import joined_cluster
from pbt_disent.tune.executor import RayExecutor
from pbt_disent.tune.link import Link
from pbt_disent.tune.nodes import check_nodes, living_nodes
from pbt_disent.tune.owner import Joined, Owner
from pbt_disent.tune.worker import Hiring, TrainerFactory

__all__ = ["MOST_SLOTS", "launch"]

MOST_SLOTS = 8
TUNE_FILES = ".tune"
SLOTS_PER_CPU = 1
"""A slot takes two seconds of CPU time to start; members beyond the slots share them without loss."""

T = TypeVar("T")


def launch(
    context: WorkerContext,
    resources: ResourcesConfig,
    run_name: str,
    slots: int,
    main: Callable[[Executor], T],
    max_population: int,
    *,
    trainer: TrainerFactory | None = None,
) -> T:
    """Start or join Ray, run `main` with an executor on it, and end or leave Ray.

    `main` starts at once, in the calling thread; its first call to the executor waits until Ray is up. SIGINT and
    SIGTERM make the executor's calls raise `Stopped`, and are handled as before once `launch` has returned.

    Args:
        context: what the workers need to know; its device is replaced by ``cuda`` where GPUs are used.
        resources: the Ray to join, if any, and caps on what is taken of it or of this machine.
        run_name: names the run's actors.
        slots: Tune trials to spread the members over; at most 8, one per member and one per CPU are used.
        main: the engine.
        max_population: members of the largest population.
        trainer: for tests: makes a trainer in place of the real one.

    Returns:
        What `main` returns.

    Raises:
        UserError: the resources are not there, or the Ray to join is not there or not fit.
        Stopped: from `main`, after a signal.
        PbtDisentError: Ray did not start, or was lost for good.
    """
    address = address_to_join(resources.address)
    slots = max(1, min(slots, MOST_SLOTS, max_population))
    with contextlib.ExitStack() as stack:
        joined = None
        if address is None:
            slots = min(slots, SLOTS_PER_CPU * (resources.cpus or usable_cpus()))
            stored = StoredImages(context.images).array.nbytes if resources.images == "object-store" else 0
            capacity = plan_capacity(resources, slots, stored)
        else:
            capacity, joined = stack.enter_context(_join(address, resources, run_name, slots, context.store))
        if capacity.gpus:
            context = dataclasses.replace(context, device="cuda")
        link = Link()
        executor = RayExecutor(link, slots, capacity.workers)
        hiring = Hiring(context, capacity.worker_cpus, capacity.worker_gpus, trainer)
        at_once = min(capacity.workers, max_population)
        owner = Owner(link, run_name, capacity, slots, at_once, hiring, resources.images, joined)
        with _on_signals(executor.stop):
            owner.start()
            try:
                return main(executor)
            finally:
                owner.close()


@contextlib.contextmanager
def _join(
    address: str, resources: ResourcesConfig, run_name: str, slots: int, store: str
) -> Iterator[tuple[Capacity, Joined]]:
    """Connect to a Ray that runs already, see that its nodes can work on the run, and lay the run out on them."""
    open_door = resources.allow_unauthenticated
    with joined_cluster(address, run_name, allow_unauthenticated=open_door):
        check_nodes(store, allow_unauthenticated=open_door)
        capacity = cluster_capacity(resources, slots, living_nodes())
        # Slots have no checkpoints, so Tune's files need not be seen by all nodes.
        folder = Path(tempfile.mkdtemp(prefix="pbtd-tune-")) if is_uri(store) else Path(store).parent / TUNE_FILES
        try:
            yield capacity, Joined(folder, partial(workers_of, capacity, resources))
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

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
