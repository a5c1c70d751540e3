"""The Tune side of a run: the trials that carry the members, the scheduler that collects their reports, and a monitor.

A trial trains nothing itself, imports no torch, and holds no result: one that dies loses nothing. Scheduler and monitor
run on Tune's event loop and only take notes there; the driver's own thread waits at the barrier and goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ray
from ray.tune import Callback, PlacementGroupFactory, Trainable
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from pbt_disent.errors import PbtDisentError
from pbt_disent.tune.messages import Cohort, CohortId
from pbt_disent.tune.resources import TRIAL_CPUS

if TYPE_CHECKING:
    from pbt_disent.tune.board import Instruction

__all__ = ["Barrier", "CohortTrial", "GenerationScheduler", "TrialMonitor"]

BOARD_WAIT_SECONDS = 30.0
BOARD_ANSWER_SECONDS = 60.0
PLACEMENT_SECONDS = 60.0


class CohortTrial(Trainable):
    """Asks the board for a cohort, submits it to the pool, waits, and reports, until it is told to stop.

    It runs cohorts of several populations side by side, and reports each when that is done.

    Its Tune config has its number (`trial`) and the names of the actors (`board`, `pool`).
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """Ask for a thousandth of a CPU."""
        return PlacementGroupFactory([{"CPU": TRIAL_CPUS}])

    def setup(self, config: dict[str, Any]) -> None:
        """Look up the board and the pool; a trial that was restarted gets a new incarnation."""
        self._number: int = config["trial"]
        self._board: Any = ray.get_actor(config["board"])
        self._pool: Any = ray.get_actor(config["pool"])
        registered: Any = self._board.register.remote(self._number)
        self._incarnation: int = ray.get(registered, timeout=BOARD_ANSWER_SECONDS)
        self._running: dict[CohortId, Any] = {}
        self._finished: list[CohortId] = []
        self._request: Any = None

    def step(self) -> dict[str, Any]:
        """Run cohorts until one is done and report it; `done` is the answer to the instruction ``stop`` alone."""
        while True:
            self._request = self._request or self._ask_board()
            for cohort, reference in self._completed().items():
                del self._running[cohort]
                ray.get(reference)
                self._finished.append(cohort)
                return {"generation": cohort[0], "cohort": cohort[1], "done": False}
            instruction = self._instruction()
            if instruction == "stop":
                return {"done": True}
            if isinstance(instruction, Cohort):
                self._running[instruction.id] = self._pool.run.remote(instruction.generation, instruction.items)

    def _ask_board(self) -> Any:
        finished, self._finished = tuple(self._finished), []
        self._deadline = time.monotonic() + BOARD_WAIT_SECONDS + BOARD_ANSWER_SECONDS
        running = tuple(self._running)
        return self._board.next.remote(self._number, self._incarnation, finished, running, BOARD_WAIT_SECONDS)

    def _completed(self) -> dict[CohortId, Any]:
        """Wait until a cohort is done or the board has answered, and return the cohorts that are done."""
        seconds = max(self._deadline - time.monotonic(), 0)
        ready, _ = ray.wait([self._request, *self._running.values()], timeout=seconds)
        return {cohort: reference for cohort, reference in self._running.items() if reference in ready}

    def _instruction(self) -> Instruction | None:
        """Return what the board has answered, or `None` if it has not; raises if it is silent for too long."""
        if not ray.wait([self._request], timeout=0)[0] and time.monotonic() < self._deadline:
            return None
        instruction: Instruction = ray.get(self._request, timeout=0)
        self._request = None
        return instruction


class Barrier:
    """Where the reports of each open generation arrive; one generation, and so one barrier, for each population."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._missing: dict[int, set[int]] = {}

    def open(self, generation: int, num_cohorts: int) -> None:
        """Begin a generation of so many cohorts."""
        with self._changed:
            self._missing[generation] = set(range(num_cohorts))

    def arrive(self, generation: int, cohort: int) -> None:
        """Note that a cohort was reported; one of no open generation, or one that comes twice, is dropped."""
        with self._changed:
            if generation in self._missing:
                self._missing[generation].discard(cohort)
                if not self._missing[generation]:
                    del self._missing[generation]
                self._changed.notify_all()

    def wait(self, generation: int, timeout: float) -> set[int]:
        """Return the cohorts of a generation that are still missing once there are none, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: generation not in self._missing, timeout=timeout)
            return set(self._missing.get(generation, ()))


class GenerationScheduler(FIFOScheduler):
    """Executes population-based training on trials that are never paused, stopped or restarted by Tune.

    Args:
        barrier: Where the reports of the trials are noted.
    """

    def __init__(self, barrier: Barrier) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray annotates nothing here
        self._barrier = barrier

    @property
    def supports_buffered_results(self) -> bool:
        """Return that reports are not buffered."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in the files that Tune writes: the manifests are the truth."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Note a report and let the trial go on to ask the board for its next cohort."""
        self._barrier.arrive(result["generation"], result["cohort"])
        return TrialScheduler.CONTINUE

    def debug_string(self) -> str:
        """Return what Tune prints about the scheduler."""
        return "generations of a population, carried by trials"


class TrialMonitor(Callback):
    """Sees that the trials are placed, that the cohorts of a lost one move on, and that Tune ends when it is told to.

    Args:
        num_trials: How many trials must be placed, each within a minute of the one before.
        on_all_placed: Called once, when all trials are placed.
        on_trial_lost: Called with the number of a trial that is lost for good.
    """

    def __init__(
        self, num_trials: int, on_all_placed: Callable[[], None], on_trial_lost: Callable[[int], None]
    ) -> None:
        super().__init__()
        self._last_placement: float | None = None
        self._unplaced = set(range(num_trials))
        self._alive = set(range(num_trials))
        self._on_all_placed, self._on_trial_lost = on_all_placed, on_trial_lost
        self._end_requested = threading.Event()
        self.error: PbtDisentError | None = None
        self.is_unplaceable = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in the files that Tune writes: the manifests are the truth."""
        return {}

    def request_end(self) -> None:
        """Make Tune end at its next step; may be called from any thread."""
        self._end_requested.set()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Note that a trial was placed."""
        if self._unplaced:
            self._last_placement = time.monotonic()
            self._unplaced.discard(trial.config["trial"])
            if not self._unplaced:
                self._on_all_placed()

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Give up a trial that has failed too often."""
        self._alive.discard(trial.config["trial"])
        self._on_trial_lost(trial.config["trial"])

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """End Tune, with a named error, if it has to."""
        if self._end_requested.is_set():
            self._end("Tune was told to end")
        if not self._alive:
            self._end("every trial is lost")
        now = time.monotonic()
        self._last_placement = self._last_placement or now
        if self._unplaced and now - self._last_placement > PLACEMENT_SECONDS:
            numbers = ", ".join(map(str, sorted(self._unplaced)))
            self.is_unplaceable = True
            self._end(f"trials {numbers} found no place within {PLACEMENT_SECONDS:.0f} s: the machine is too busy")

    def _end(self, reason: str) -> None:
        self.error = PbtDisentError(reason)
        raise self.error
