"""The pool: every work item is done once, the heaviest first, and outlives its workers up to a budget."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.tune import pool as pool_module
from pbt_disent.tune.messages import FailureCause, WorkItem, WorkResult
from pbt_disent.tune.pool import MAX_FAILED_STARTS, WorkerLost, WorkerPool
from pbt_disent.tune.retries import MAX_ATTEMPTS, TimeLimit

Behaviour = Callable[["FakeWorkers", WorkItem], Awaitable[WorkResult]]


async def succeed(workers: FakeWorkers, item: WorkItem) -> WorkResult:
    return done(item)


def done(item: WorkItem) -> WorkResult:
    return WorkResult(item.key, True, pickle.dumps(item.key.upper()))


class FakeWorkers:
    """Starts workers that behave as they are told, and logs the keys of the items."""

    def __init__(self, behaviour: Behaviour = succeed, start_error: Exception | None = None) -> None:
        self.behaviour, self.start_error = behaviour, start_error
        self.log: list[str] = []
        self.started = self.killed = 0

    def __call__(self) -> FakeWorker:
        self.started += 1
        return FakeWorker(self)


class FakeWorker:
    def __init__(self, workers: FakeWorkers) -> None:
        self.workers = workers

    async def start(self) -> None:
        if self.workers.start_error is not None:
            raise self.workers.start_error

    async def run(self, item: WorkItem) -> WorkResult:
        self.workers.log.append(item.key)
        return await self.workers.behaviour(self.workers, item)

    def kill(self) -> None:
        self.workers.killed += 1


def items(**weights: float) -> list[WorkItem]:
    return [WorkItem(key, "train", weight, b"") for key, weight in weights.items()]


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 5))


def test_the_longest_task_goes_first() -> None:
    async def scenario() -> None:
        workers = FakeWorkers()
        pool = WorkerPool(workers)
        running = asyncio.create_task(pool.run(0, items(short=1, longest=9, long=5, longer=7)))
        await asyncio.sleep(0)
        await pool.resize(1, 1)
        await running
        assert workers.log == ["longest", "longer", "long", "short"]
        progress = await pool.collect(0, 0, 0, 0)
        assert [pickle.loads(result.payload) for result in progress.results] == ["LONGEST", "LONGER", "LONG", "SHORT"]
        assert [result.key for result in (await pool.collect(0, 3, 0, 0)).results] == ["short"]

    run(scenario())


def test_an_item_submitted_twice_is_done_once_and_one_of_a_closed_generation_not_at_all() -> None:
    async def scenario() -> None:
        workers = FakeWorkers()
        pool = WorkerPool(workers)
        await pool.resize(2, 2)
        await asyncio.gather(pool.run(4, items(a=1, b=1)), pool.run(4, items(b=1, a=1)))
        await pool.run(4, items(a=1))
        await pool.close(4)
        await pool.run(4, items(late=1))
        assert sorted(workers.log) == ["a", "b"]
        progress = await pool.collect(4, 0, 0, 0)
        assert (progress.results, progress.num_submitted) == ((), 0)
        statistics = await pool.statistics()
        assert (statistics.started, statistics.lost, statistics.alive, statistics.completed) == (2, 0, 2, 2)

    run(scenario())


def test_the_pool_grows_with_its_work_up_to_its_limit() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        async def wait(workers: FakeWorkers, item: WorkItem) -> WorkResult:
            await gate.wait()
            return done(item)

        workers = FakeWorkers(wait)
        pool = WorkerPool(workers)
        await pool.resize(3, 1)
        assert workers.started == 1
        running = asyncio.create_task(pool.run(0, items(a=1, b=1, c=1, d=1, e=1)))
        await asyncio.sleep(0.01)
        assert (workers.started, len(workers.log)) == (3, 3)
        gate.set()
        await running
        assert workers.started == 3

    run(scenario())


def test_a_lost_worker_is_replaced_and_its_task_done_by_another() -> None:
    async def scenario() -> None:
        async def die_first(workers: FakeWorkers, item: WorkItem) -> WorkResult:
            if workers.log.count(item.key) == 1 and item.key == "b":
                raise WorkerLost("its process is gone")
            return done(item)

        workers = FakeWorkers(die_first)
        pool = WorkerPool(workers)
        await pool.resize(1, 1)
        await pool.run(0, items(a=3, b=2, c=1))
        assert sorted(workers.log) == ["a", "b", "b", "c"]
        assert all(result.ok for result in (await pool.collect(0, 0, 0, 0)).results)
        statistics = await pool.statistics()
        assert (statistics.started, statistics.lost, workers.killed) == (2, 1, 1)

    run(scenario())


def test_a_task_that_takes_every_worker_down_ends_with_a_reason() -> None:
    async def scenario() -> None:
        async def die(workers: FakeWorkers, item: WorkItem) -> WorkResult:
            raise WorkerLost("killed by signal 11")

        workers = FakeWorkers(die)
        pool = WorkerPool(workers)
        await pool.resize(1, 1)
        await pool.run(0, items(deadly=1))
        (result,) = (await pool.collect(0, 0, 0, 0)).results
        assert (result.ok, result.cause) == (False, "process")
        assert workers.log == ["deadly"] * (MAX_ATTEMPTS["process"] or 0)
        assert str(pickle.loads(result.payload)) == (
            f"no worker brought deadly to an end ({len(workers.log)} x process); the last one: killed by signal 11"
        )

    run(scenario())


def test_what_the_infrastructure_takes_away_is_free() -> None:
    """Twenty nodes go under one task, more than any budget has; between them its worker dies and memory runs out."""

    async def scenario() -> None:
        losses: list[FailureCause] = [*["node"] * 10, "process", "memory", *["node"] * 10]  # type: ignore[list-item]

        async def lose(workers: FakeWorkers, item: WorkItem) -> WorkResult:
            if len(workers.log) <= len(losses):
                cause = losses[len(workers.log) - 1]
                raise WorkerLost(f"its {cause} is gone", cause)
            return done(item)

        workers = FakeWorkers(lose)
        pool = WorkerPool(workers)
        await pool.resize(1, 1)
        await pool.run(0, items(a=1))
        (result,) = (await pool.collect(0, 0, 0, 0)).results
        assert result.ok
        statistics = await pool.statistics()
        assert statistics.failures == {"node": 20, "process": 1, "memory": 1}
        assert (statistics.lost, statistics.completed) == (22, 1)

    run(scenario())


@pytest.mark.parametrize(
    ("cause", "started", "message"),
    [
        ("code", 1, "it raised"),
        ("storage", 1, "it raised"),
        ("memory", 1, "out of memory: no worker brought a to an end (3 x memory); the last one: it raised"),
        ("device", 4, "no worker brought a to an end (3 x device); the last one: it raised"),
    ],
)
def test_each_cause_has_its_budget(cause: FailureCause, started: int, message: str) -> None:
    """A broken device takes its worker with it; the others leave the worker alone."""

    async def scenario() -> None:
        async def fail(workers: FakeWorkers, item: WorkItem) -> WorkResult:
            return WorkResult(item.key, False, pickle.dumps(PbtDisentError("it raised")), cause)

        workers = FakeWorkers(fail)
        pool = WorkerPool(workers)
        await pool.resize(1, 1)
        result = await pool.run_single(items(a=1)[0])
        await asyncio.sleep(0)
        assert not result.ok
        assert str(pickle.loads(result.payload)) == message
        assert (len(workers.log), workers.started) == (MAX_ATTEMPTS[cause], started)
        assert (await pool.statistics()).failures == {cause: MAX_ATTEMPTS[cause]}

    run(scenario())


def test_a_budget_is_a_tasks_own() -> None:
    async def scenario() -> None:
        async def fail_twice(workers: FakeWorkers, item: WorkItem) -> WorkResult:
            if workers.log.count(item.key) <= 2:
                return WorkResult(item.key, False, pickle.dumps(PbtDisentError("full")), "memory")
            return done(item)

        workers = FakeWorkers(fail_twice)
        pool = WorkerPool(workers)
        await pool.resize(2, 2)
        await pool.run(0, items(a=1, b=1, c=1))
        assert all(result.ok for result in (await pool.collect(0, 0, 3, 1)).results)
        assert (await pool.statistics()).failures == {"memory": 6}

    run(scenario())


def test_a_stuck_worker_is_given_up() -> None:
    async def scenario() -> None:
        async def stick_first(workers: FakeWorkers, item: WorkItem) -> WorkResult:
            if len(workers.log) == 1:
                await asyncio.sleep(60)
            return done(item)

        workers = FakeWorkers(stick_first)
        pool = WorkerPool(workers, TimeLimit(initial_seconds=0.05))
        await pool.resize(1, 1)
        assert (await pool.run_single(items(a=1)[0])).ok
        assert (workers.log, workers.started) == (["a", "a"], 2)

    run(scenario())


def test_workers_that_never_start_end_the_pool() -> None:
    async def scenario() -> None:
        workers = FakeWorkers(start_error=WorkerLost("no such library"))
        pool = WorkerPool(workers)
        await pool.resize(1, 1)
        await pool.run(0, items(a=1))
        error = (await pool.collect(0, 0, 1, 1)).error
        assert str(error) == f"no worker starts ({MAX_FAILED_STARTS} tries): no such library"
        assert workers.started == MAX_FAILED_STARTS

    run(scenario())


def test_a_run_that_no_worker_can_work_on_ends_at_once_with_its_own_error() -> None:
    async def scenario() -> None:
        error = UserError("images", "must exist", "check the path")
        workers = FakeWorkers(start_error=error)
        pool = WorkerPool(workers)
        await pool.resize(1, 1)
        result = await pool.run_single(items(a=1)[0])
        assert isinstance(pickle.loads(result.payload), UserError)
        assert workers.started == 1
        assert (await pool.collect(0, 0, 0, 0)).error is error

    run(scenario())


def test_a_fault_of_the_pool_itself_is_said_and_not_waited_for() -> None:
    async def scenario() -> None:
        async def wrong(workers: FakeWorkers, item: WorkItem) -> WorkResult:
            raise KeyError("unforeseen")

        pool = WorkerPool(FakeWorkers(wrong))
        await pool.resize(1, 1)
        await pool.run_single(items(a=1)[0])
        assert "unforeseen" in str((await pool.collect(0, 0, 0, 0)).error)

    run(scenario())


def test_cancelling_kills_the_workers_and_frees_all_who_wait() -> None:
    async def scenario() -> None:
        async def stick(workers: FakeWorkers, item: WorkItem) -> WorkResult:
            await asyncio.sleep(60)
            return done(item)

        workers = FakeWorkers(stick)
        pool = WorkerPool(workers)
        await pool.resize(2, 2)
        waiting = [
            asyncio.create_task(pool.run(0, items(a=1, b=1, c=1))),
            asyncio.create_task(pool.collect(0, 0, 1, 60)),
            asyncio.create_task(pool.run_single(items(d=1)[0])),
        ]
        await asyncio.sleep(0.01)
        await pool.shut_down()
        await asyncio.gather(*waiting)
        assert workers.killed >= 2
        assert workers.started == 2
        await pool.run(0, items(e=1))

    run(scenario())


def test_several_generations_share_the_workers_fairly_and_the_longest_of_each_goes_first() -> None:
    async def scenario() -> None:
        workers = FakeWorkers()
        pool = WorkerPool(workers)
        running = [
            asyncio.create_task(pool.run(3, items(a9=9, a8=8, a7=7, a6=6))),
            asyncio.create_task(pool.run(4, items(b1=1, b2=2))),
        ]
        await asyncio.sleep(0)
        await pool.resize(2, 2)
        await asyncio.gather(*running)
        assert [key for key in workers.log if key[0] == "a"] == ["a9", "a8", "a7", "a6"]
        assert [key for key in workers.log if key[0] == "b"] == ["b2", "b1"]
        assert {*workers.log[:2]} == {"a9", "b2"}
        assert [result.key for result in (await pool.collect(4, 0, 0, 0)).results] == ["b2", "b1"]
        await pool.close(3)
        assert (await pool.collect(3, 0, 0, 0)).num_submitted == 0
        assert (await pool.collect(4, 0, 0, 0)).num_submitted == 2

    run(scenario())


def test_a_single_item_does_not_wait_for_a_whole_generation() -> None:
    async def scenario() -> None:
        workers = FakeWorkers()
        pool = WorkerPool(workers)
        training = asyncio.create_task(pool.run(0, items(**{f"t{i}": 9.0 for i in range(20)})))
        scoring = asyncio.create_task(pool.run_single(WorkItem("score", "score", 1.0, b"")))
        await asyncio.sleep(0)
        await pool.resize(1, 1)
        await asyncio.gather(training, scoring)
        assert workers.log.index("score") <= 1

    run(scenario())


def test_results_are_handed_on_together() -> None:
    async def scenario() -> None:
        pool = WorkerPool(FakeWorkers())
        await pool.resize(1, 1)
        collected = asyncio.create_task(pool.collect(0, 0, 3, 60))
        await pool.run(0, items(a=1, b=1, c=1))
        assert len((await collected).results) == 3

    run(scenario())


def test_closing_a_generation_frees_who_waits_for_it() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        async def wait(workers: FakeWorkers, item: WorkItem) -> WorkResult:
            if item.key == "old":
                await gate.wait()
            return done(item)

        workers = FakeWorkers(wait)
        pool = WorkerPool(workers)
        await pool.resize(1, 1)
        old = asyncio.create_task(pool.run(0, items(old=1, never=0)))
        await asyncio.sleep(0.01)
        await pool.close(0)
        await old
        new = asyncio.create_task(pool.run(1, items(new=1)))
        await asyncio.sleep(0)
        gate.set()
        await new
        assert workers.log == ["old", "new"]
        assert [result.key for result in (await pool.collect(1, 0, 0, 0)).results] == ["new"]

    run(scenario())


def test_start_takes_no_longer_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(pool_module, "START_SECONDS", 0.01)

        class Sleeper(FakeWorker):
            async def start(self) -> None:
                await asyncio.sleep(60)

        pool = WorkerPool(lambda: Sleeper(FakeWorkers()))
        await pool.resize(1, 1)
        await pool.run_single(items(a=1)[0])
        assert "not ready after" in str((await pool.collect(0, 0, 0, 0)).error)

    run(scenario())
