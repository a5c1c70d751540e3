"""Run an engine on a Ray of its own: started before it, stopped with it, whatever ends it."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

from pbt_disent.config import ResourcesConfig
from pbt_disent.machine import usable_cpus
from pbt_disent.population.executor import Executor
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.tune.capacity import plan_capacity
from pbt_disent.tune.executor import RayExecutor
from pbt_disent.tune.link import Link
from pbt_disent.tune.owner import Owner
from pbt_disent.tune.worker import Hiring, TrainerFactory

__all__ = ["MOST_SLOTS", "launch"]

MOST_SLOTS = 8
SLOTS_PER_CPU = 2
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
    """Start Ray, run `main` with an executor on it, and end Ray.

    `main` starts at once, in the calling thread; its first call to the executor waits until Ray is up. SIGINT and
    SIGTERM make the executor's calls raise `Stopped`, and are handled as before once `launch` has returned.

    Args:
        context: what the workers need to know; its device is replaced by ``cuda`` where GPUs are used.
        resources: caps on what is taken of the machine.
        run_name: names the run's actors.
        slots: Tune trials to spread the members over; at most 8, one per member and two per CPU are used.
        main: the engine.
        max_population: members of the largest population.
        trainer: for tests: makes a trainer in place of the real one.

    Returns:
        What `main` returns.

    Raises:
        UserError: the resources are not there.
        Stopped: from `main`, after a signal.
        PbtDisentError: Ray did not start, or was lost for good.
    """
    slots = max(1, min(slots, MOST_SLOTS, max_population, SLOTS_PER_CPU * (resources.cpus or usable_cpus())))
    capacity = plan_capacity(resources, slots)
    if capacity.gpus:
        context = dataclasses.replace(context, device="cuda")
    link = Link()
    executor = RayExecutor(link, slots, capacity.workers)
    hiring = Hiring(context, capacity.worker_cpus, capacity.worker_gpus, trainer)
    owner = Owner(link, run_name, capacity, slots, min(capacity.workers, max_population), hiring)
    with _on_signals(executor.stop):
        owner.start()
        try:
            return main(executor)
        finally:
            owner.close()


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
