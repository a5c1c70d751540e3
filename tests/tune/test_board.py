"""The board: one uncommitted tick, no second turn for what was reported, and another host for what was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pbt_disent.tune.board import Board, Next
from pbt_disent.tune.messages import Part


def tick(number: int, parts: int) -> list[Part]:
    return [Part(number, part, ()) for part in range(parts)]


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 5))


async def ask(
    board: Board,
    slot: int,
    incarnation: int = 1,
    finished: tuple[int, int] | None = None,
    playing: tuple[tuple[int, int], ...] = (),
) -> Next:
    return await board.next(slot, incarnation, [finished] if finished else [], playing, 0.02)


def test_each_slot_gets_its_part_and_gets_it_again_until_it_is_reported() -> None:
    async def scene() -> None:
        board = Board(2)
        await board.ready()
        assert [await board.enter(0), await board.enter(1)] == [1, 1]
        await board.post(tick(5, 2))
        assert await ask(board, 0) == Part(5, 0, ())
        assert await ask(board, 0) == Part(5, 0, ())
        assert await ask(board, 1) == Part(5, 1, ())
        assert await ask(board, 0, finished=(5, 0)) == "wait"
        await board.post(tick(6, 2))
        assert await ask(board, 0, finished=(5, 0)) == Part(6, 0, ())

    play(scene())


def test_a_slot_plays_parts_of_several_populations_side_by_side() -> None:
    async def scene() -> None:
        board = Board(1)
        await board.ready()
        await board.enter(0)
        await board.post(tick(5, 1))
        assert await ask(board, 0) == Part(5, 0, ())
        assert await ask(board, 0, playing=((5, 0),)) == "wait"
        await board.post(tick(6, 1))
        assert await ask(board, 0, playing=((5, 0),)) == Part(6, 0, ())
        assert await ask(board, 0, playing=((5, 0), (6, 0))) == "wait"
        assert await ask(board, 0, finished=(5, 0), playing=((6, 0),)) == "wait"
        assert await board.enter(0) == 2
        assert await ask(board, 0, incarnation=2) == Part(6, 0, ())

    play(scene())


def test_a_restarted_slot_goes_on_with_the_uncommitted_tick_and_its_ghost_stops() -> None:
    async def scene() -> None:
        board = Board(1)
        await board.ready()
        await board.enter(0)
        await board.post(tick(3, 1))
        assert await board.enter(0) == 2
        assert await ask(board, 0, incarnation=1) == "stop"
        assert await ask(board, 0, incarnation=1, finished=(3, 0)) == "stop"
        assert await ask(board, 0, incarnation=2) == Part(3, 0, ())
        assert await board.incarnations() == {0: 2}

    play(scene())


def test_the_others_host_what_a_lost_slot_had_to_play() -> None:
    async def scene() -> None:
        board = Board(3)
        await board.ready()
        for slot in range(3):
            await board.enter(slot)
        await board.post(tick(0, 3))
        assert await ask(board, 1, finished=(0, 1)) == "wait"
        await board.retire(2)
        assert await ask(board, 2) == "stop"
        assert await ask(board, 1, finished=(0, 1)) == Part(0, 2, ())
        await board.post(tick(1, 3))
        assert await ask(board, 0, finished=(0, 0)) == Part(1, 0, ())
        assert await ask(board, 0, finished=(1, 0)) == Part(1, 2, ())
        assert await board.incarnations() == {0: 1, 1: 1}

    play(scene())


def test_a_waiting_slot_is_woken_by_a_post_from_another_event_loop() -> None:
    async def scene() -> None:
        board = Board(1)
        await board.ready()
        await board.enter(0)
        waiting = asyncio.create_task(board.next(0, 1, (), (), 60.0))
        await asyncio.sleep(0.01)
        await asyncio.to_thread(lambda: asyncio.run(board.post(tick(0, 1))))
        async with asyncio.timeout(30):
            assert await waiting == Part(0, 0, ())

    play(scene())


def test_stop_frees_all_who_wait() -> None:
    async def scene() -> None:
        board = Board(2)
        await board.ready()
        for slot in range(2):
            await board.enter(slot)
        waiting = [asyncio.create_task(board.next(slot, 1, (), (), 60.0)) for slot in range(2)]
        await asyncio.sleep(0.01)
        await board.stop()
        assert await asyncio.gather(*waiting) == ["stop", "stop"]

    play(scene())
