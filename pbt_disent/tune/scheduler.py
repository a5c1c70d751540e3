"""The Tune side of a generation: the scheduler that collects the slots' reports, and the watch over the slots.

Both run on Tune's event loop and only take notes there; the driver's own thread waits at the barrier and goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from pbt_disent.errors import PbtDisentError

__all__ = ["Barrier", "GenerationScheduler", "SlotWatch"]

PLACED_SECONDS = 60.0


class Barrier:
    """Where the parts of each uncommitted tick arrive: one tick, and so one barrier, for each population that plays."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._missing: dict[int, set[int]] = {}

    def open(self, tick: int, parts: int) -> None:
        """Begin a tick of so many parts."""
        with self._changed:
            self._missing[tick] = set(range(parts))

    def arrive(self, tick: int, part: int) -> None:
        """Note a part as played; one of no open tick, or one that comes twice, is dropped."""
        with self._changed:
            if tick in self._missing:
                self._missing[tick].discard(part)
                if not self._missing[tick]:
                    del self._missing[tick]
                self._changed.notify_all()

    def wait(self, tick: int, seconds: float) -> set[int]:
        """Return the parts of a tick that are still missing once there are none, or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: tick not in self._missing, timeout=seconds)
            return set(self._missing.get(tick, ()))


class GenerationScheduler(FIFOScheduler):
    """Executes population-based training on slots that are never paused, stopped or restarted by Tune.

    Args:
        barrier: where reports are noted.
    """

    def __init__(self, barrier: Barrier) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray annotates nothing here
        self._barrier = barrier

    @property
    def supports_buffered_results(self) -> bool:
        """Have every report handed on at once."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in the files that Tune writes: the manifests are the truth."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Note a report and let the slot go on to ask the board for its next part."""
        self._barrier.arrive(result["tick"], result["part"])
        return TrialScheduler.CONTINUE

    def debug_string(self) -> str:
        """Return what this is."""
        return "generations of a population, played by slots"


class SlotWatch(Callback):
    """Sees that the slots are placed, that a lost one is replaced, and that Tune ends when it is told to.

    Args:
        slots: how many must be placed, each within a minute of the one before.
        placed: called once when all are.
        lost: called with the number of a slot that is lost for good.
    """

    def __init__(self, slots: int, placed: Callable[[], None], lost: Callable[[int], None]) -> None:
        super().__init__()
        self._progress: float | None = None
        self._unplaced = set(range(slots))
        self._alive = set(range(slots))
        self._placed, self._lost = placed, lost
        self._abandoned = threading.Event()
        self.error: PbtDisentError | None = None
        self.hopeless = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in the files that Tune writes: the manifests are the truth."""
        return {}

    def abandon(self) -> None:
        """Make Tune end at its next step; may be called from any thread."""
        self._abandoned.set()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Note a slot as placed."""
        if self._unplaced:
            self._progress = time.monotonic()
            self._unplaced.discard(trial.config["slot"])
            if not self._unplaced:
                self._placed()

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Give up a slot that has failed too often."""
        self._alive.discard(trial.config["slot"])
        self._lost(trial.config["slot"])

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """End Tune, with a named error, if it has to."""
        if self._abandoned.is_set():
            self._stop("Tune was told to end")
        if not self._alive:
            self._stop("every slot is lost")
        now = time.monotonic()
        self._progress = self._progress or now
        if self._unplaced and now - self._progress > PLACED_SECONDS:
            waiting = ", ".join(map(str, sorted(self._unplaced)))
            self.hopeless = True
            self._stop(f"slots {waiting} found no place within {PLACED_SECONDS:.0f} s: the machine is too busy")

    def _stop(self, reason: str) -> None:
        self.error = PbtDisentError(reason)
        raise self.error
