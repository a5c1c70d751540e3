"""A small population that is really trained, and ways to kill the process that trains it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pbt_disent.config import PopulationConfig
from pbt_disent.population.engine import run_population
from pbt_disent.population.events import Observer, Observers
from pbt_disent.population.executor import Executor, InProcessExecutor
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.population.recovery import RecoveringExecutor
from pbt_disent.population.spec import RoundSpec
from pbt_disent.store.lease import Lease
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.training.tasks import WorkerContext
from tests.objectives import options_of
from tests.training.bench import SHAPE, Bench, make_bench

long = pytest.mark.skipif(not os.environ.get("PBT_DISENT_FAULTS"), reason="takes minutes: make faults runs it")

GENERATIONS = 3


def small_spec(bench: Bench, *, size: int = 3, generations: int = GENERATIONS, images: int = 60) -> RoundSpec:
    """Return a population of 3 members with two replicas each, for three generations."""
    return RoundSpec(
        path="0",
        seed=3,
        population=PopulationConfig(
            size=size,
            replicas=2,
            max_generations=generations,
            image_passes_per_generation=images,
            exploit={"cutoff": 0.34},
        ),
        objectives={
            "betatcvae": options_of(
                "betatcvae", SHAPE, latents=3, batch_size=32, beta=6, lr={"low": 1e-4, "high": 1e-2}
            )
        },
        fitness=UDRFitness(information_threshold=0),
        subset=None,
        set_size=200,
        probe=bench.task.probe,
        data=DataIdentity(name="sprites", fingerprint="0" * 64, subset=None, num_images=200),
    )


def train_population(
    folder: Path,
    observer: Observer | None = None,
    make_executor: Callable[[WorkerContext], Executor] = InProcessExecutor,
    spec: Callable[[Bench], RoundSpec] = small_spec,
) -> None:
    """Train the population from the last committed generation to its end, as `pbt_disent.api.execute` does."""
    bench = make_bench(folder, "betatcvae")
    lease = Lease(folder / "lease.json")
    try:
        journal = RoundJournal(folder, bench.blobs, lease)
        journal.collect_garbage([bench.task.probe])
        log = AppendOnlyLog(folder / "incidents.jsonl")
        executor = RecoveringExecutor(make_executor(bench.context), journal, bench.blobs, log)
        run_population(spec(bench), executor, journal, observer or Observers())
    finally:
        lease.release()


def run_in_child(function: Callable[[], None]) -> int:
    """Call a function in a child process, and return its exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_this_process() -> None:
    """End this process as power loss does."""
    os.kill(os.getpid(), signal.SIGKILL)
