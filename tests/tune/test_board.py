"""The board: a cohort is handed out until it is reported, and to another trial if its own is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pbt_disent.tune.board import Board, Instruction
from pbt_disent.tune.messages import Cohort


def cohorts(generation: int, number: int) -> list[Cohort]:
    return [Cohort(generation, index, ()) for index in range(number)]


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 5))


async def ask(
    board: Board,
    trial: int,
    incarnation: int = 1,
    finished: tuple[int, int] | None = None,
    running: tuple[tuple[int, int], ...] = (),
) -> Instruction:
    return await board.next(trial, incarnation, [finished] if finished else [], running, 0.02)


def test_each_trial_gets_its_cohort_and_gets_it_again_until_it_is_reported() -> None:
    async def scenario() -> None:
        board = Board(2)
        await board.bind()
        assert [await board.register(0), await board.register(1)] == [1, 1]
        await board.post(cohorts(5, 2))
        assert await ask(board, 0) == Cohort(5, 0, ())
        assert await ask(board, 0) == Cohort(5, 0, ())
        assert await ask(board, 1) == Cohort(5, 1, ())
        assert await ask(board, 0, finished=(5, 0)) == "wait"
        await board.post(cohorts(6, 2))
        assert await ask(board, 0, finished=(5, 0)) == Cohort(6, 0, ())

    run(scenario())


def test_a_trial_runs_cohorts_of_several_populations_side_by_side() -> None:
    async def scenario() -> None:
        board = Board(1)
        await board.bind()
        await board.register(0)
        await board.post(cohorts(5, 1))
        assert await ask(board, 0) == Cohort(5, 0, ())
        assert await ask(board, 0, running=((5, 0),)) == "wait"
        await board.post(cohorts(6, 1))
        assert await ask(board, 0, running=((5, 0),)) == Cohort(6, 0, ())
        assert await ask(board, 0, running=((5, 0), (6, 0))) == "wait"
        assert await ask(board, 0, finished=(5, 0), running=((6, 0),)) == "wait"
        assert await board.register(0) == 2
        assert await ask(board, 0, incarnation=2) == Cohort(6, 0, ())

    run(scenario())


def test_a_restarted_trial_goes_on_with_the_open_generation_and_its_earlier_incarnation_stops() -> None:
    async def scenario() -> None:
        board = Board(1)
        await board.bind()
        await board.register(0)
        await board.post(cohorts(3, 1))
        assert await board.register(0) == 2
        assert await ask(board, 0, incarnation=1) == "stop"
        assert await ask(board, 0, incarnation=1, finished=(3, 0)) == "stop"
        assert await ask(board, 0, incarnation=2) == Cohort(3, 0, ())
        assert await board.incarnations() == {0: 2}

    run(scenario())


def test_the_other_trials_get_the_cohorts_of_a_lost_one() -> None:
    async def scenario() -> None:
        board = Board(3)
        await board.bind()
        for trial in range(3):
            await board.register(trial)
        await board.post(cohorts(0, 3))
        assert await ask(board, 1, finished=(0, 1)) == "wait"
        await board.remove(2)
        assert await ask(board, 2) == "stop"
        assert await ask(board, 1, finished=(0, 1)) == Cohort(0, 2, ())
        await board.post(cohorts(1, 3))
        assert await ask(board, 0, finished=(0, 0)) == Cohort(1, 0, ())
        assert await ask(board, 0, finished=(1, 0)) == Cohort(1, 2, ())
        assert await board.incarnations() == {0: 1, 1: 1}

    run(scenario())


def test_a_waiting_trial_is_woken_by_a_post_from_another_event_loop() -> None:
    async def scenario() -> None:
        board = Board(1)
        await board.bind()
        await board.register(0)
        waiting = asyncio.create_task(board.next(0, 1, (), (), 60.0))
        await asyncio.sleep(0.01)
        await asyncio.to_thread(lambda: asyncio.run(board.post(cohorts(0, 1))))
        async with asyncio.timeout(30):
            assert await waiting == Cohort(0, 0, ())

    run(scenario())


def test_stop_frees_all_who_wait() -> None:
    async def scenario() -> None:
        board = Board(2)
        await board.bind()
        for trial in range(2):
            await board.register(trial)
        waiting = [asyncio.create_task(board.next(trial, 1, (), (), 60.0)) for trial in range(2)]
        await asyncio.sleep(0.01)
        await board.stop()
        assert await asyncio.gather(*waiting) == ["stop", "stop"]

    run(scenario())
