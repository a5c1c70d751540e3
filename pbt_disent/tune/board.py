"""The board: where the driver posts the generations to be trained, and where the trials ask for their cohorts.

One generation is open for each population. The board holds nothing that the manifests do not: after its death the same
generations are posted on a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, Literal

import ray

from pbt_disent.tune.messages import Cohort, CohortId

__all__ = ["CONTROL_GROUP", "Board", "Instruction"]

CONTROL_GROUP = "control"
"""Concurrency group of the methods that change the board, so that waiting trials can never keep them out."""

Instruction = Cohort | Literal["stop", "wait"]


class Board:
    """An async actor. All state is touched on the event loop of the trials' calls alone.

    Ray runs each concurrency group on an event loop of its own, so that a call of the control group hands its change
    over to that loop.

    Args:
        num_trials: The number of trials. They are numbered from 0.
    """

    def __init__(self, num_trials: int) -> None:
        self._incarnations = dict.fromkeys(range(num_trials), 0)
        self._cohorts: dict[int, list[Cohort]] = {trial: [] for trial in range(num_trials)}
        self._stopped = False
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def bind(self) -> None:
        """Bind the board to this event loop; the first call of all."""
        self._loop = asyncio.get_running_loop()

    async def register(self, trial: int) -> int:
        """Register a trial that has just started, for the first time or again.

        Returns:
            The incarnation of the trial, from 1. Earlier ones of the same trial are told to stop.
        """
        if trial in self._incarnations:
            self._incarnations[trial] += 1
        self._changed.set()
        return self._incarnations.get(trial, 0)

    async def next(
        self,
        trial: int,
        incarnation: int,
        finished: Collection[CohortId],
        running: Collection[CohortId],
        timeout: float,
    ) -> Instruction:
        """Return what else a trial runs: a cohort of an open generation that it has neither begun nor finished.

        Args:
            trial: The number of the trial that asks.
            incarnation: The incarnation of the trial, as `register` returned it.
            finished: The cohorts that the trial has finished since it asked last.
            running: The cohorts that the trial runs already, and goes on with.
            timeout: How many seconds to wait for a cohort.

        Returns:
            A cohort, ``wait`` (nothing came: ask again), or ``stop``.
        """
        deadline = time.monotonic() + timeout
        if self._incarnations.get(trial) == incarnation:
            self._cohorts[trial] = [cohort for cohort in self._cohorts[trial] if cohort.id not in finished]
        while not self._stopped and self._incarnations.get(trial) == incarnation:
            for cohort in self._cohorts[trial]:
                if cohort.id not in running:
                    return cohort
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                return "wait"
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        return "stop"

    @ray.method(concurrency_group=CONTROL_GROUP)
    async def post(self, cohorts: Sequence[Cohort]) -> None:
        """Open a generation, whose cohorts are spread over the trials."""
        await self._run_on_own_loop(self._post(cohorts))

    @ray.method(concurrency_group=CONTROL_GROUP)
    async def remove(self, trial: int) -> None:
        """Give the cohorts of a lost trial to the other trials."""
        await self._run_on_own_loop(self._remove(trial))

    @ray.method(concurrency_group=CONTROL_GROUP)
    async def stop(self) -> None:
        """Let every trial end."""
        await self._run_on_own_loop(self._stop())

    @ray.method(concurrency_group=CONTROL_GROUP)
    async def incarnations(self) -> dict[int, int]:
        """Return how often each living trial has started; 1 in a healthy run."""
        return dict(self._incarnations)

    async def _run_on_own_loop(self, change: Coroutine[Any, Any, None]) -> None:
        if self._loop is None or self._loop is asyncio.get_running_loop():
            await change
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(change, self._loop))

    async def _post(self, cohorts: Sequence[Cohort]) -> None:
        for cohort in cohorts:
            self._assign(cohort)
        self._changed.set()

    async def _remove(self, trial: int) -> None:
        self._incarnations.pop(trial, None)
        for cohort in self._cohorts.pop(trial, []):
            self._assign(cohort)
        self._changed.set()

    async def _stop(self) -> None:
        self._stopped = True
        self._changed.set()

    def _assign(self, cohort: Cohort) -> None:
        """Give a cohort to the trial with the fewest; with no trial left it is lost, and the executor says so."""
        if self._cohorts:
            self._cohorts[min(self._cohorts, key=lambda trial: (len(self._cohorts[trial]), trial))].append(cohort)
