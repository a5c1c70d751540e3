"""Sessions of a benchmark: every case again in a new process, later, so that the spread is that between runs.

Rounds of one process meet the same memory layout and the same state of the machine, so they differ less among
themselves than two runs of the benchmark do.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

from benchmarks.case import Size
from benchmarks.finding import Finding
from benchmarks.runner import run_case
from pbt_disent.errors import PbtDisentError

__all__ = ["SESSIONS", "Session", "TooLong", "reason_of"]

SESSIONS = 4
"""Of a whole benchmark: with fewer, the 95 % interval is wide; more of them take long."""
GRACE = 60.0
"""Seconds after its limit in which the process of a session may end by itself."""


class TooLong(PbtDisentError):
    """A case did not come to an end."""


@dataclass(frozen=True)
class Session:
    """One session of a case.

    Args:
        name: of the case, in the registry.
        size: see `Setting`.
        kept: see `Setting`.
        first: see `Setting`.
        limit: seconds after which it is given up.
    """

    name: str
    size: Size
    kept: Path
    first: bool
    limit: float

    def here(self, say: Callable[[str], None]) -> Finding:
        """Run it in this process.

        Raises:
            TooLong: it is not at its end in time.
            Exception: whatever the case raises.
        """
        with _limited(self.limit):
            return run_case(self.name, self.size, say, self.kept, first=self.first)

    def apart(self, say: Callable[[str], None]) -> Finding:
        """Run it in a new process.

        Raises:
            PbtDisentError: it raised something there, hung, or died.
        """
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(there, self, say))
        process.start()
        there.close()
        try:
            if not here.poll(self.limit + GRACE):
                raise TooLong(f"hangs since {self.limit:g} s, and was killed")
            found: Finding | str = here.recv()
        except EOFError:
            process.join(GRACE)
            raise PbtDisentError(f"its process ended with exit code {process.exitcode}") from None
        except BaseException:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
            raise
        finally:
            process.join(GRACE)
            process.kill()
            process.join()
        if isinstance(found, str):
            raise PbtDisentError(found)
        return found


def reason_of(error: Exception) -> str:
    """Return what a case raised, in one line."""
    kind = "" if isinstance(error, PbtDisentError) else f"{type(error).__name__}: "
    return f"{kind}{' '.join(str(error).split())}"


def _serve(end: Connection, session: Session, say: Callable[[str], None]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        try:
            end.send(session.here(say))
        except Exception as error:  # whatever a case or another library raises, the other cases go on
            end.send(reason_of(error))


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in the block when its time is up; in any thread but the first, Python knows no alarms."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"is not at its end after {seconds:g} s, and was given up")

    handler = signal.signal(signal.SIGALRM, give_up)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
