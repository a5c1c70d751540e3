"""Wakes every coroutine that waits for something to change."""

from __future__ import annotations

import asyncio

__all__ = ["Bell"]


class Bell:
    """A bell that is rung at every change; belongs to one event loop.

    Whoever waits looks at the state first, then waits for the next ring, and looks again.
    """

    def __init__(self) -> None:
        self._ring: asyncio.Event | None = None

    def ring(self) -> None:
        """Wake all who wait now."""
        if self._ring is not None:
            self._ring.set()
            self._ring = None

    async def wait(self, seconds: float | None) -> bool:
        """Wait for the next ring, at most so many seconds if there is a number; say whether it came."""
        if self._ring is None:
            self._ring = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await self._ring.wait()
        except TimeoutError:
            return False
        return True
