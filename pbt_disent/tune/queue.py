"""Which task a free worker takes: a fair share for every population, and of each the longest task first."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

from pbt_disent.tune.bell import Bell

__all__ = ["FairQueue"]

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items in groups, handed out one by one; belongs to one event loop.

    The group that has the fewest items out goes first, among equals the one that had to wait longest.

    Args:
        urgent: a group that goes before all others.
    """

    def __init__(self, urgent: Hashable = None) -> None:
        self._urgent = urgent
        self._served: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, list[tuple[float, int, T]]] = {}
        self._out: Counter[Hashable] = Counter()
        self._order = itertools.count()
        self._bell = Bell()

    def put(self, group: Hashable, weight: float, item: T) -> None:
        """Add an item; the heavier go first."""
        heapq.heappush(self._waiting.setdefault(group, []), (-weight, next(self._order), item))
        self._bell.ring()

    async def get(self) -> tuple[Hashable, T]:
        """Wait for an item, and return it with its group; `back` must follow."""
        while not self._waiting:
            await self._bell.wait(None)
        group = min(self._waiting, key=lambda one: (one != self._urgent, self._out[one], self._served.get(one, -1)))
        self._served[group] = next(self._order)
        _, _, item = heapq.heappop(self._waiting[group])
        if not self._waiting[group]:
            del self._waiting[group]
        self._out[group] += 1
        return group, item

    def back(self, group: Hashable) -> None:
        """Note that an item of a group is not being worked on any more."""
        self._out[group] -= 1
        if not self._out[group]:
            del self._out[group]
        if group not in self._out and group not in self._waiting:
            self._served.pop(group, None)

    def drop(self, group: Hashable) -> None:
        """Forget all items of a group that wait."""
        self._waiting.pop(group, None)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))
