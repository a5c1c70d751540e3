"""The pool: every task runs once, the longest first, and outlives its workers up to a budget."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.tune import pool as pool_module
from pbt_disent.tune.messages import Job, Result
from pbt_disent.tune.pool import START_ATTEMPTS, Pool, WorkerLost
from pbt_disent.tune.retries import ATTEMPTS, Cause
from pbt_disent.tune.watchdog import Watchdog

Deed = Callable[["Crew", Job], Awaitable[Result]]


async def nothing(crew: Crew, job: Job) -> Result:
    return done(job)


def done(job: Job) -> Result:
    return Result(job.key, True, pickle.dumps(job.key.upper()))


class Crew:
    """Hires workers that do as they are told, and keeps a log."""

    def __init__(self, deed: Deed = nothing, start: Exception | None = None) -> None:
        self.deed, self.start = deed, start
        self.log: list[str] = []
        self.hired = self.killed = 0

    def __call__(self) -> Hand:
        self.hired += 1
        return Hand(self)


class Hand:
    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def start(self) -> None:
        if self.crew.start is not None:
            raise self.crew.start

    async def run(self, job: Job) -> Result:
        self.crew.log.append(job.key)
        return await self.crew.deed(self.crew, job)

    def kill(self) -> None:
        self.crew.killed += 1


def jobs(**weights: float) -> list[Job]:
    return [Job(key, "train", weight, b"") for key, weight in weights.items()]


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 5))


def test_the_longest_task_goes_first() -> None:
    async def scene() -> None:
        crew = Crew()
        pool = Pool(crew)
        running = asyncio.create_task(pool.run(0, jobs(short=1, longest=9, long=5, longer=7)))
        await asyncio.sleep(0)
        await pool.allow(1, 1)
        await running
        assert crew.log == ["longest", "longer", "long", "short"]
        progress = await pool.collect(0, 0, 0, 0)
        assert [pickle.loads(result.payload) for result in progress.results] == ["LONGEST", "LONGER", "LONG", "SHORT"]
        assert [result.key for result in (await pool.collect(0, 3, 0, 0)).results] == ["short"]

    play(scene())


def test_a_task_asked_for_twice_runs_once_and_a_forgotten_tick_not_at_all() -> None:
    async def scene() -> None:
        crew = Crew()
        pool = Pool(crew)
        await pool.allow(2, 2)
        await asyncio.gather(pool.run(4, jobs(a=1, b=1)), pool.run(4, jobs(b=1, a=1)))
        await pool.run(4, jobs(a=1))
        await pool.close(4)
        await pool.run(4, jobs(late=1))
        assert sorted(crew.log) == ["a", "b"]
        progress = await pool.collect(4, 0, 0, 0)
        assert (progress.results, progress.known) == ((), 0)
        statistics = await pool.statistics()
        assert (statistics.hired, statistics.lost, statistics.alive, statistics.jobs) == (2, 0, 2, 2)

    play(scene())


def test_the_pool_grows_with_its_work_up_to_its_limit() -> None:
    async def scene() -> None:
        gate = asyncio.Event()

        async def wait(crew: Crew, job: Job) -> Result:
            await gate.wait()
            return done(job)

        crew = Crew(wait)
        pool = Pool(crew)
        await pool.allow(3, 1)
        assert crew.hired == 1
        running = asyncio.create_task(pool.run(0, jobs(a=1, b=1, c=1, d=1, e=1)))
        await asyncio.sleep(0.01)
        assert (crew.hired, len(crew.log)) == (3, 3)
        gate.set()
        await running
        assert crew.hired == 3

    play(scene())


def test_a_lost_worker_is_replaced_and_its_task_done_by_another() -> None:
    async def scene() -> None:
        async def die_first(crew: Crew, job: Job) -> Result:
            if crew.log.count(job.key) == 1 and job.key == "b":
                raise WorkerLost("its process is gone")
            return done(job)

        crew = Crew(die_first)
        pool = Pool(crew)
        await pool.allow(1, 1)
        await pool.run(0, jobs(a=3, b=2, c=1))
        assert sorted(crew.log) == ["a", "b", "b", "c"]
        assert all(result.ok for result in (await pool.collect(0, 0, 0, 0)).results)
        statistics = await pool.statistics()
        assert (statistics.hired, statistics.lost, crew.killed) == (2, 1, 1)

    play(scene())


def test_a_task_that_takes_every_worker_down_ends_with_a_reason() -> None:
    async def scene() -> None:
        async def die(crew: Crew, job: Job) -> Result:
            raise WorkerLost("killed by signal 11")

        crew = Crew(die)
        pool = Pool(crew)
        await pool.allow(1, 1)
        await pool.run(0, jobs(deadly=1))
        (result,) = (await pool.collect(0, 0, 0, 0)).results
        assert (result.ok, result.cause) == (False, "process")
        assert crew.log == ["deadly"] * (ATTEMPTS["process"] or 0)
        assert str(pickle.loads(result.payload)) == (
            f"no worker brought deadly to an end ({len(crew.log)} x process); the last one: killed by signal 11"
        )

    play(scene())


def test_what_the_infrastructure_takes_away_is_free() -> None:
    """Twenty nodes go under one task, more than any budget has; between them its worker dies and memory runs out."""

    async def scene() -> None:
        losses: list[Cause] = [*["node"] * 10, "process", "memory", *["node"] * 10]  # type: ignore[list-item]

        async def lose(crew: Crew, job: Job) -> Result:
            if len(crew.log) <= len(losses):
                cause = losses[len(crew.log) - 1]
                raise WorkerLost(f"its {cause} is gone", cause)
            return done(job)

        crew = Crew(lose)
        pool = Pool(crew)
        await pool.allow(1, 1)
        await pool.run(0, jobs(a=1))
        (result,) = (await pool.collect(0, 0, 0, 0)).results
        assert result.ok
        statistics = await pool.statistics()
        assert statistics.causes == {"node": 20, "process": 1, "memory": 1}
        assert (statistics.lost, statistics.jobs) == (22, 1)

    play(scene())


@pytest.mark.parametrize(
    ("cause", "hired", "said"),
    [
        ("code", 1, "it raised"),
        ("storage", 1, "it raised"),
        ("memory", 1, "out of memory: no worker brought a to an end (3 x memory); the last one: it raised"),
        ("device", 4, "no worker brought a to an end (3 x device); the last one: it raised"),
    ],
)
def test_each_cause_has_its_budget(cause: Cause, hired: int, said: str) -> None:
    """A broken device takes its worker with it; the others leave the worker alone."""

    async def scene() -> None:
        async def fail(crew: Crew, job: Job) -> Result:
            return Result(job.key, False, pickle.dumps(PbtDisentError("it raised")), cause)

        crew = Crew(fail)
        pool = Pool(crew)
        await pool.allow(1, 1)
        result = await pool.call(jobs(a=1)[0])
        await asyncio.sleep(0)
        assert not result.ok
        assert str(pickle.loads(result.payload)) == said
        assert (len(crew.log), crew.hired) == (ATTEMPTS[cause], hired)
        assert (await pool.statistics()).causes == {cause: ATTEMPTS[cause]}

    play(scene())


def test_a_budget_is_a_tasks_own() -> None:
    async def scene() -> None:
        async def fail_twice(crew: Crew, job: Job) -> Result:
            if crew.log.count(job.key) <= 2:
                return Result(job.key, False, pickle.dumps(PbtDisentError("full")), "memory")
            return done(job)

        crew = Crew(fail_twice)
        pool = Pool(crew)
        await pool.allow(2, 2)
        await pool.run(0, jobs(a=1, b=1, c=1))
        assert all(result.ok for result in (await pool.collect(0, 0, 3, 1)).results)
        assert (await pool.statistics()).causes == {"memory": 6}

    play(scene())


def test_a_stuck_worker_is_given_up() -> None:
    async def scene() -> None:
        async def stick_first(crew: Crew, job: Job) -> Result:
            if len(crew.log) == 1:
                await asyncio.sleep(60)
            return done(job)

        crew = Crew(stick_first)
        pool = Pool(crew, Watchdog(first_seconds=0.05))
        await pool.allow(1, 1)
        assert (await pool.call(jobs(a=1)[0])).ok
        assert (crew.log, crew.hired) == (["a", "a"], 2)

    play(scene())


def test_the_watchdog_allows_in_proportion_to_the_work() -> None:
    watchdog = Watchdog(first_seconds=1000.0, least_seconds=1.0, patience=20.0)
    small, large = jobs(small=10, large=1000)
    assert watchdog.allowance(large) == 1000.0
    watchdog.observe(small, 2.0)
    watchdog.observe(small, 1.0)
    assert watchdog.allowance(small) == pytest.approx(40.0)
    assert watchdog.allowance(large) == pytest.approx(4000.0)
    assert watchdog.allowance(Job("x", "score", 1.0, b"")) == 1000.0


def test_workers_that_never_start_end_the_pool() -> None:
    async def scene() -> None:
        crew = Crew(start=WorkerLost("no such library"))
        pool = Pool(crew)
        await pool.allow(1, 1)
        await pool.run(0, jobs(a=1))
        ended = (await pool.collect(0, 0, 1, 1)).ended
        assert str(ended) == f"no worker starts ({START_ATTEMPTS} tries): no such library"
        assert crew.hired == START_ATTEMPTS

    play(scene())


def test_a_run_that_no_worker_can_work_on_ends_at_once_with_its_own_error() -> None:
    async def scene() -> None:
        error = UserError("images", "must exist", "check the path")
        crew = Crew(start=error)
        pool = Pool(crew)
        await pool.allow(1, 1)
        result = await pool.call(jobs(a=1)[0])
        assert isinstance(pickle.loads(result.payload), UserError)
        assert crew.hired == 1
        assert (await pool.collect(0, 0, 0, 0)).ended is error

    play(scene())


def test_a_fault_of_the_pool_itself_is_said_and_not_waited_for() -> None:
    async def scene() -> None:
        async def wrong(crew: Crew, job: Job) -> Result:
            raise KeyError("unforeseen")

        pool = Pool(Crew(wrong))
        await pool.allow(1, 1)
        await pool.call(jobs(a=1)[0])
        assert "unforeseen" in str((await pool.collect(0, 0, 0, 0)).ended)

    play(scene())


def test_cancelling_kills_the_workers_and_frees_all_who_wait() -> None:
    async def scene() -> None:
        async def stick(crew: Crew, job: Job) -> Result:
            await asyncio.sleep(60)
            return done(job)

        crew = Crew(stick)
        pool = Pool(crew)
        await pool.allow(2, 2)
        waiting = [
            asyncio.create_task(pool.run(0, jobs(a=1, b=1, c=1))),
            asyncio.create_task(pool.collect(0, 0, 1, 60)),
            asyncio.create_task(pool.call(jobs(d=1)[0])),
        ]
        await asyncio.sleep(0.01)
        await pool.cancel()
        await asyncio.gather(*waiting)
        assert crew.killed >= 2
        assert crew.hired == 2
        await pool.run(0, jobs(e=1))

    play(scene())


def test_several_ticks_share_the_workers_fairly_and_the_longest_of_each_goes_first() -> None:
    async def scene() -> None:
        crew = Crew()
        pool = Pool(crew)
        running = [
            asyncio.create_task(pool.run(3, jobs(a9=9, a8=8, a7=7, a6=6))),
            asyncio.create_task(pool.run(4, jobs(b1=1, b2=2))),
        ]
        await asyncio.sleep(0)
        await pool.allow(2, 2)
        await asyncio.gather(*running)
        assert [key for key in crew.log if key[0] == "a"] == ["a9", "a8", "a7", "a6"]
        assert [key for key in crew.log if key[0] == "b"] == ["b2", "b1"]
        assert {*crew.log[:2]} == {"a9", "b2"}
        assert [one.key for one in (await pool.collect(4, 0, 0, 0)).results] == ["b2", "b1"]
        await pool.close(3)
        assert (await pool.collect(3, 0, 0, 0)).known == 0
        assert (await pool.collect(4, 0, 0, 0)).known == 2

    play(scene())


def test_a_single_job_does_not_wait_for_a_whole_generation() -> None:
    async def scene() -> None:
        crew = Crew()
        pool = Pool(crew)
        training = asyncio.create_task(pool.run(0, jobs(**{f"t{i}": 9.0 for i in range(20)})))
        scoring = asyncio.create_task(pool.call(Job("score", "score", 1.0, b"")))
        await asyncio.sleep(0)
        await pool.allow(1, 1)
        await asyncio.gather(training, scoring)
        assert crew.log.index("score") <= 1

    play(scene())


def test_results_are_handed_on_together() -> None:
    async def scene() -> None:
        pool = Pool(Crew())
        await pool.allow(1, 1)
        collected = asyncio.create_task(pool.collect(0, 0, 3, 60))
        await pool.run(0, jobs(a=1, b=1, c=1))
        assert len((await collected).results) == 3

    play(scene())


def test_closing_a_tick_frees_who_waits_for_it() -> None:
    async def scene() -> None:
        gate = asyncio.Event()

        async def wait(crew: Crew, job: Job) -> Result:
            if job.key == "old":
                await gate.wait()
            return done(job)

        crew = Crew(wait)
        pool = Pool(crew)
        await pool.allow(1, 1)
        old = asyncio.create_task(pool.run(0, jobs(old=1, never=0)))
        await asyncio.sleep(0.01)
        await pool.close(0)
        await old
        new = asyncio.create_task(pool.run(1, jobs(new=1)))
        await asyncio.sleep(0)
        gate.set()
        await new
        assert crew.log == ["old", "new"]
        assert [result.key for result in (await pool.collect(1, 0, 0, 0)).results] == ["new"]

    play(scene())


def test_start_takes_no_longer_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr(pool_module, "START_SECONDS", 0.01)

        class Sleeper(Hand):
            async def start(self) -> None:
                await asyncio.sleep(60)

        pool = Pool(lambda: Sleeper(Crew()))
        await pool.allow(1, 1)
        await pool.call(jobs(a=1)[0])
        assert "not ready after" in str((await pool.collect(0, 0, 0, 0)).ended)

    play(scene())
