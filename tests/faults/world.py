"""A small population that is really trained, and ways to hurt it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pbt_disent.config import Mutable, ObjectiveConfig, PopulationConfig, UdrConfig
from pbt_disent.models import resolve
from pbt_disent.population.engine import Kind, RoundSpec, run_population
from pbt_disent.population.events import Observer, Observers
from pbt_disent.population.executor import Executor, InProcessExecutor
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.safekeeping import Safekeeping
from pbt_disent.store.lease import Lease
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.training.tasks import WorkerContext
from tests.training.bench import SHAPE, Bench, make_bench

long = pytest.mark.skipif(not os.environ.get("PBT_DISENT_FAULTS"), reason="takes minutes: make faults runs it")

GENERATIONS = 3


def small_spec(bench: Bench, *, size: int = 3, generations: int = GENERATIONS, images: int = 60) -> RoundSpec:
    """Return a population of 3 members with two replicas each, for three generations."""
    resolved = resolve(ObjectiveConfig(name="betatcvae", latents=3, batch_size=32), SHAPE)
    return RoundSpec(
        path="0",
        seed=3,
        population=PopulationConfig(
            size=size, replicas=2, max_generations=generations, images_per_generation=images, cutoff=0.34
        ),
        kinds=(
            Kind(
                "betatcvae",
                {"lr": Mutable(default=1e-3, low=1e-4, high=1e-2, log=True)},
                resolved.complete({key: one.default for key, one in resolved.space.items()}),
            ),
        ),
        fitness="udr",
        options=UdrConfig(information_threshold=0).model_dump(exclude={"points"}),
        subset=None,
        set_size=200,
        probe=bench.task.probe,
    )


def play(
    folder: Path,
    observer: Observer | None = None,
    make: Callable[[WorkerContext], Executor] = InProcessExecutor,
    spec: Callable[[Bench], RoundSpec] = small_spec,
) -> None:
    """Run the population to its end, from wherever its record stands, as `pbt_disent.api.execute` does."""
    bench = make_bench(folder, "betatcvae")
    lease = Lease(folder / "lease.json")
    try:
        journal = RoundJournal(folder, bench.blobs, lease)
        journal.sweep([bench.task.probe])
        log = AppendOnlyLog(folder / "incidents.jsonl")
        executor = Safekeeping(make(bench.context), journal, bench.blobs, log)
        run_population(spec(bench), executor, journal, observer or Observers())
    finally:
        lease.release()


def in_a_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own, and return how that ended: its exit code, or minus its signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die() -> None:
    """End this process as power loss does."""
    os.kill(os.getpid(), signal.SIGKILL)
