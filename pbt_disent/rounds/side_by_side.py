"""Chains of rounds that do not depend on each other, run side by side in threads that share one executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from pbt_disent.population.executor import Stopped

__all__ = ["side_by_side"]

T = TypeVar("T")


def side_by_side(work: Sequence[Callable[[], T]], at_once: int, stop: Callable[[], None]) -> list[T]:
    """Call everything and return what came of it, in order.

    Args:
        work: what is to be called.
        at_once: so many at a time; with one, this thread calls one after the other.
        stop: called when one fails, so that the others end soon with `Stopped`.

    Raises:
        Exception: what the first that failed by itself has raised.
    """
    if at_once == 1 or len(work) < 2:
        return [one() for one in work]
    with ThreadPoolExecutor(at_once, thread_name_prefix="rounds") as threads:
        futures: list[Future[T]] = [threads.submit(one) for one in work]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        if any(one.exception() for one in done):
            for future in futures:
                future.cancel()
            stop()
    ended = [one for one in futures if not one.cancelled()]
    errors = [error for one in ended if (error := one.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
        raise error
    return [one.result() for one in futures]
