"""The board: where the driver posts the uncommitted ticks, one for each population, and slots ask what to play next.

The board holds nothing that the manifests do not: after its death a new one is posted the same ticks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, Literal, TypeVar

import ray

from pbt_disent.tune.bell import Bell
from pbt_disent.tune.messages import Part

__all__ = ["POSTING", "Board", "Next", "Place"]

POSTING = "posting"
"""Concurrency group of the methods that change the board, so that waiting slots can never keep them out."""

T = TypeVar("T")

Next = Part | Literal["stop", "wait"]

Place = tuple[int, int]
"""Tick and part: what a part is called."""


class Board:
    """An async actor. All state is touched on the event loop of the slots' calls alone.

    Ray runs each concurrency group on an event loop of its own, so a posting call hands its change over.

    Args:
        slots: how many slots there are, numbered from 0.
    """

    def __init__(self, slots: int) -> None:
        self._incarnations = dict.fromkeys(range(slots), 0)
        self._hosts: dict[int, list[Part]] = {slot: [] for slot in range(slots)}
        self._stopped = False
        self._bell = Bell()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ready(self) -> None:
        """Bind the board to this event loop; the first call of all."""
        self._loop = asyncio.get_running_loop()

    async def enter(self, slot: int) -> int:
        """Register a slot that has just started, for the first time or again.

        Returns:
            Its incarnation, from 1. Earlier ones of the same slot are told to stop.
        """
        if slot in self._incarnations:
            self._incarnations[slot] += 1
        self._bell.ring()
        return self._incarnations.get(slot, 0)

    async def next(
        self,
        slot: int,
        incarnation: int,
        finished: Collection[Place],
        playing: Collection[Place],
        patience: float,
    ) -> Next:
        """Return what else a slot plays: a part of an uncommitted tick that it has neither begun nor finished.

        Args:
            slot: who asks.
            incarnation: as `enter` returned it.
            finished: what the slot has played since it asked last.
            playing: what it plays already, and goes on with.
            patience: seconds to wait for something to play.

        Returns:
            A part, ``wait`` (nothing came: ask again), or ``stop``.
        """
        deadline = time.monotonic() + patience
        if self._incarnations.get(slot) == incarnation:
            self._hosts[slot] = [part for part in self._hosts[slot] if part.place not in finished]
        while not self._stopped and self._incarnations.get(slot) == incarnation:
            for part in self._hosts[slot]:
                if part.place not in playing:
                    return part
            left = deadline - time.monotonic()
            if left <= 0:
                return "wait"
            await self._bell.wait(left)
        return "stop"

    @ray.method(concurrency_group=POSTING)
    async def post(self, parts: Sequence[Part]) -> None:
        """Add a tick to those that are played."""
        await self._apply(self._post(parts))

    @ray.method(concurrency_group=POSTING)
    async def retire(self, slot: int) -> None:
        """Give what a lost slot had to play to the others."""
        await self._apply(self._retire(slot))

    @ray.method(concurrency_group=POSTING)
    async def stop(self) -> None:
        """Let every slot end."""
        await self._apply(self._stop())

    @ray.method(concurrency_group=POSTING)
    async def incarnations(self) -> dict[int, int]:
        """Return how often each living slot has started; 1 in a healthy run."""
        return dict(self._incarnations)

    async def _apply(self, change: Coroutine[Any, Any, None]) -> None:
        if self._loop is None or self._loop is asyncio.get_running_loop():
            await change
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(change, self._loop))

    async def _post(self, parts: Sequence[Part]) -> None:
        for part in parts:
            self._host(part)
        self._bell.ring()

    async def _retire(self, slot: int) -> None:
        self._incarnations.pop(slot, None)
        for part in self._hosts.pop(slot, []):
            self._host(part)
        self._bell.ring()

    async def _stop(self) -> None:
        self._stopped = True
        self._bell.ring()

    def _host(self, part: Part) -> None:
        """Give a part to the slot that has least to play; with no slot left it is lost, and the launcher says so."""
        if self._hosts:
            self._hosts[min(self._hosts, key=lambda slot: (len(self._hosts[slot]), slot))].append(part)
