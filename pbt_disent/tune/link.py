"""The link between the thread that owns Ray and the thread that runs the engine."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from pbt_disent.tune.scheduler import Barrier, SlotWatch

__all__ = ["Connection", "Link"]


@dataclass(frozen=True, eq=False)
class Connection:
    """One incarnation of the engine's machinery: a board, a pool, and the Tune experiment that plays on them."""

    board: Any
    pool: Any
    barrier: Barrier
    watch: SlotWatch


class Link:
    """Holds the connection that is up, if any, or the error that ended everything."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._connection: Connection | None = None
        self._error: BaseException | None = None
        self.reason = ""

    def offer(self, connection: Connection) -> None:
        """Put a connection up."""
        with self._changed:
            self._connection = connection
            self._changed.notify_all()

    def withdraw(self, connection: Connection, reason: str) -> None:
        """Take a connection down that is of no use any more."""
        with self._changed:
            if self._connection is connection:
                self._connection, self.reason = None, reason

    def fail(self, error: BaseException) -> None:
        """End it: no connection will come any more."""
        with self._changed:
            self._connection, self._error = None, error
            self._changed.notify_all()

    def is_up(self, connection: Connection) -> bool:
        """Return whether a connection is the one that is up.

        Raises:
            BaseException: what ended everything, if something did.
        """
        if self._error is not None:
            raise self._error
        return self._connection is connection

    def wait(self, seconds: float) -> Connection | None:
        """Return the connection, waiting at most so long for one.

        Raises:
            BaseException: what ended everything, if something did.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._connection is not None or self._error is not None, timeout=seconds)
            if self._error is not None:
                raise self._error
            return self._connection
