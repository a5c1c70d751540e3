"""A generation of the engine on Ray, beside Tune's own PBT, and how it grows with nodes and members."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count, pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.case import (
    CASES,
    Case,
    Comparison,
    ComputedCost,
    Disagreement,
    Goal,
    Implementation,
    Measurement,
    Scaling,
    ScalingImplementation,
    Setup,
)

__all__ = ["prepare_board", "prepare_generation", "prepare_nodes"]

OURS = "pbt-disent"
MEMBERS, WORKERS = 8, 2
MEMBERS_PER_NODE = 4
TRIALS, BOARD_WORKERS, BOARD_GENERATIONS = 8, 2, 3
POLL_INTERVAL, POLL_DELAY = 20.0, 1.0
"""The seconds between the reference's checks whether a generation has ended, and those that it then waits."""

_sessions = count()


def prepare_generation(work: float, setup: Setup) -> Comparison:
    """8 members on 2 workers; a cost is the time from one generation's end to the next, so starting up is left out.

    Members sleep where they would train and write a small checkpoint, and a quarter of them is replaced. Each session
    checks that every member has trained in every generation.

    Args:
        work: The seconds that a member sleeps in a generation.
        setup: The setup of the case.
    """
    from pbt_disent.machine import usable_cpus

    members, workers = setup.pick(MEMBERS, MEMBERS, 3), min(WORKERS, usable_cpus())
    seconds = setup.pick(work, work / 2, min(work, 0.05))
    ideal = members * seconds / workers
    our_generations, tune_generations = (
        setup.pick((3, 3), (3, 3), (3, 2)) if work else setup.pick((21, 4), (21, 4), (4, 2))
    )

    def ours() -> Sequence[float]:
        return _generation_costs(_run_on_ray(setup, members, workers, our_generations, seconds), our_generations, ideal)

    def tune(synchronous: bool) -> Sequence[float]:
        from benchmarks.baselines.tune_pbt import run_tune_pbt

        ends = run_tune_pbt(members, tune_generations, seconds, workers=workers, synchronous=synchronous)
        return _generation_costs(ends, tune_generations, ideal if synchronous else 0.0)

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        if not work:
            return [Measurement("of a generation", 1000 * medians[OURS], "ms", Goal(40, at_most=True))]
        return [Measurement("of the workers' time is work", 100 * ideal / medians[OURS], "%", Goal(95))]

    baselines: list[Implementation | ComputedCost] = [Implementation("Tune's PBT, synchronous", partial(tune, True))]
    if setup.size == "full":
        baselines.append(Implementation("Tune's PBT, asynchronous", partial(tune, False)))
    if work:
        noticed = POLL_INTERVAL * math.ceil(ideal / POLL_INTERVAL) + POLL_DELAY
        how = (
            f"{ideal:g} s of work, noticed at the next poll, every {POLL_INTERVAL:g} s, and {POLL_DELAY:g} s of waiting"
        )
        baselines.append(ComputedCost("20 s polling, as the reference does", noticed, how))
    agreement = "every session checks that each member trains in each generation"
    return Comparison(Implementation(OURS, ours), baselines, lambda: agreement, 1, measurements=measurements)


def _run_on_ray(setup: Setup, members: int, workers: int, generations: int, seconds: float) -> Sequence[float]:
    """Run a population on a Ray of its own and return when its generations ended."""
    from benchmarks.simulated import SleepingTrainer, run_sleeping_population
    from pbt_disent.config import ResourcesConfig
    from pbt_disent.population.executor import Executor
    from pbt_disent.training.tasks import WorkerContext
    from pbt_disent.tune.launch import launch

    folder = setup.folder / f"session-{next(_sessions)}"
    context = WorkerContext(str(folder / "blobs"), str(folder), "none")

    def main(executor: Executor) -> Sequence[float]:
        return run_sleeping_population(folder, executor, members, generations, seconds)

    resources = ResourcesConfig(cpus=workers, gpus=0)
    return launch(context, resources, "bench", main, members, make_trainer=SleepingTrainer)


def _generation_costs(ends: Sequence[float], generations: int, ideal: float) -> Sequence[float]:
    """Return the seconds of each generation but the first.

    Raises:
        Disagreement: A generation is missing, or took less time than its work.
    """
    if len(ends) != generations:
        raise Disagreement(f"{len(ends)} of {generations} generations were trained by every member")
    costs = [after - before for before, after in pairwise(ends)]
    if sum(costs) < 0.95 * ideal * len(costs):
        raise Disagreement(f"generations of {ideal:g} s took {costs}")
    return costs


def prepare_nodes(setup: Setup) -> Scaling:
    """1 to 8 simulated nodes of one CPU each and four sleeping members for each of them, within one run that they join.

    A generation should take as long as one node's share of it sleeps, however many nodes there are.
    """
    sizes, seconds = setup.pick((1, 2, 4, 8), (1, 4), (1, 2)), setup.pick(1.0, 0.3, 0.05)
    generations = setup.pick(3, 3, 2)
    ideal = MEMBERS_PER_NODE * seconds
    seconds_by_size: dict[int, list[float]] = {}

    def ours(nodes: int) -> float:
        if nodes not in seconds_by_size:
            seconds_by_size.update(dict(zip(sizes, _run_on_nodes(setup, sizes, generations, seconds), strict=True)))
        return float(np.median(seconds_by_size.pop(nodes)))

    def check() -> str:
        seconds_by_size.update(dict(zip(sizes, _run_on_nodes(setup, sizes, generations, seconds), strict=True)))
        for nodes, costs in seconds_by_size.items():
            if len(costs) != generations - 1:
                raise Disagreement(f"not every member was trained in {generations} generations on {nodes} nodes")
            if min(costs) < 0.95 * ideal:
                raise Disagreement(f"{ideal:g} s of sleep for each of {nodes} nodes took {min(costs):.2f} s")
        return "every member is trained in every generation, with a worker on each node"

    def measurements(medians: Mapping[int, float]) -> Sequence[Measurement]:
        share = 100 * ideal / medians[sizes[-1]]
        return [Measurement(f"of the workers' time is work, {sizes[-1]} nodes", share, "%", Goal(95))]

    return Scaling("nodes", sizes, 0, ScalingImplementation("pbt-disent", ours), check, 1, measurements=measurements)


def _run_on_nodes(setup: Setup, sizes: Sequence[int], generations: int, seconds: float) -> list[list[float]]:
    """Run populations on ever more nodes that join one run; return what their generations took, by number of nodes."""
    from benchmarks.simulated import SleepingTrainer, run_sleeping_population
    from benchmarks.simulated_cluster import run_on_nodes
    from pbt_disent.population.executor import Executor
    from pbt_disent.training.tasks import WorkerContext

    base = setup.folder / f"session-{len(list(setup.folder.iterdir()))}"
    base.mkdir()
    numbers = count()

    def run(executor: Executor, nodes: int, generations: int, seconds: float) -> Sequence[float]:
        folder = base / f"population-{next(numbers)}"
        return run_sleeping_population(
            folder, executor, MEMBERS_PER_NODE * nodes, generations, seconds, blobs=base / "blobs"
        )

    def warm_up(executor: Executor, nodes: int) -> None:
        run(executor, nodes, 1, 0.05)

    def generation_seconds(executor: Executor, nodes: int) -> list[float]:
        return [after - before for before, after in pairwise(run(executor, nodes, generations, seconds))]

    context = WorkerContext(str(base / "blobs"), str(base), "none")
    return run_on_nodes(sizes, warm_up, generation_seconds, context, SleepingTrainer, MEMBERS_PER_NODE * sizes[-1])


def prepare_board(setup: Setup) -> Scaling:
    """A generation from its tasks to its last report: shared out, posted, handed in, done, collected, reported.

    Board, pool and scheduler are those of a run, called in this process, without Ray's part: the trials are numbers,
    and a worker says at once that a task is done.
    """
    sizes = setup.pick((100, 1000, 10_000), (100, 1000, 10_000), (20, 40))

    def ours(members: int) -> float:
        return min(asyncio.run(_run_on_board(members)))

    def check() -> str:
        asyncio.run(_run_on_board(sizes[0]))
        return "every task is done once and every trial reports each generation"

    def measurements(medians: Mapping[int, float]) -> Sequence[Measurement]:
        return [Measurement(f"of a generation of {size:,} members", 1000 * medians[size], "ms") for size in sizes[-2:]]

    return Scaling(
        "members", sizes, 1, ScalingImplementation("board, pool, scheduler", ours), check, 1, measurements=measurements
    )


async def _run_on_board(members: int) -> Sequence[float]:
    """Run some generations without work, and return what each took."""
    from pbt_disent.models.contract import load_options
    from pbt_disent.training.tasks import TaskKey, TrainTask
    from pbt_disent.tune.board import Board
    from pbt_disent.tune.executor import split_into_cohorts
    from pbt_disent.tune.messages import Cohort, CohortId, WorkItem, WorkResult
    from pbt_disent.tune.pool import WorkerPool
    from pbt_disent.tune.trials import Barrier, GenerationScheduler

    class InstantWorker:
        async def start(self) -> None: ...

        async def run(self, item: WorkItem) -> WorkResult:
            return WorkResult(item.key, True, b"")

        def kill(self) -> None: ...

    board: Any = Board(TRIALS)  # Ray has put its own type over the methods
    pool, barrier = WorkerPool(InstantWorker), Barrier()
    scheduler = GenerationScheduler(barrier)
    await board.bind()
    await pool.resize(BOARD_WORKERS, BOARD_WORKERS)
    for trial in range(TRIALS):
        await board.register(trial)

    async def run_trial(trial: int, finished: tuple[CohortId, ...]) -> CohortId:
        cohort = await board.next(trial, 1, finished, (), 60.0)
        if not isinstance(cohort, Cohort):
            raise Disagreement(f"trial {trial} has no cohort to run")
        await pool.run(cohort.generation, cohort.items)
        tune_trial: Any = SimpleNamespace(config={"trial": trial})
        scheduler.on_trial_result(None, tune_trial, {"generation": cohort.generation, "cohort": cohort.index})
        return cohort.id

    objective = load_options("betatcvae", {})
    seconds: list[float] = []
    finished: list[tuple[CohortId, ...]] = [()] * TRIALS
    for generation in range(BOARD_GENERATIONS):
        values = {"lr": 1e-3, "beta": 4.0, "batch_size": 64.0}
        tasks = [
            TrainTask(TaskKey("0", generation, member, (0,)), 0, objective, ("0" * 64,), values, 1000, None, "0" * 64)
            for member in range(members)
        ]
        start = time.perf_counter()
        cohorts = split_into_cohorts(generation, tasks, TRIALS)
        barrier.open(generation, len(cohorts))
        await board.post(cohorts)
        running = [asyncio.create_task(run_trial(trial, finished[trial])) for trial in range(TRIALS)]
        collected = 0
        while collected < members:
            collected += len((await pool.collect(generation, collected, members, 60.0)).results)
        finished = [(await trial,) for trial in running]
        missing = barrier.wait(generation, 0.0)
        await pool.close(generation)
        seconds.append(time.perf_counter() - start)
        if missing or (await pool.statistics()).completed != members * (generation + 1):
            raise Disagreement("a task was not done once, or a trial has not reported")
    return seconds


CASES.register("generation")(
    Case("a PBT generation of 8 members on 2 workers: against Tune's own PBT", partial(prepare_generation, 1.0))
)
CASES.register("empty-generation")(
    Case("a PBT generation of 8 members without work: against Tune's own PBT", partial(prepare_generation, 0.0))
)
CASES.register("grow-nodes")(
    Case(
        "a generation on simulated nodes: against none that grows with nodes and their share of work",
        prepare_nodes,
        max_sessions=3,
    )
)
CASES.register("grow-board")(
    Case("a generation in the scheduler, the board and the pool: against linear growth in members", prepare_board)
)
