"""Run a case: check that all implementations agree, time them in turns, compare; here or in a process of its own.

A whole benchmark runs every case in several sessions, each in a new process and with all other cases in between. Rounds
of one process meet the same memory layout and the same state of the machine, so they differ less among themselves than
two runs of the benchmark do.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

import numpy as np

from benchmarks.case import (
    CASES,
    Case,
    Comparison,
    ComputedCost,
    Implementation,
    Scaling,
    ScalingImplementation,
    Setup,
    Size,
    Unavailable,
)
from benchmarks.results import BaselineResult, CaseResult, ScalingCurve
from benchmarks.timing import Spread, exponent, quartiles, ratios, time_in_turns
from pbt_disent.errors import PbtDisentError

__all__ = ["SESSIONS", "Session", "TimedOut", "describe_error", "run_case"]

SESSIONS = 4
"""The sessions of a whole benchmark: with fewer, the 95 % interval is wide; more of them take long."""
GRACE = 60.0
"""Seconds after its limit in which the process of a session may end by itself."""

CostBySize = dict[int, float]


class TimedOut(PbtDisentError):
    """A case did not come to an end."""


def run_case(
    name: str, size: Size, log: Callable[[str], None], shared_folder: Path | None = None, *, is_first: bool = True
) -> CaseResult:
    """Run one session of a case, from start to end, in a temporary folder.

    Args:
        name: The name of the case in the registry.
        size: The size of the work; see `Setup`.
        log: A function that is told what is going on.
        shared_folder: The folder that the sessions of the case share; the session's own folder lies beside it. None
            for one that is deleted with the session.
        is_first: Whether this is the first session of the case.

    Raises:
        UserError: There is no such case.
        Disagreement: The implementations do not compute the same.
    """
    case = CASES[name]
    start = time.monotonic()
    parent = shared_folder.parent if shared_folder else None
    with tempfile.TemporaryDirectory(prefix="pbt-disent-bench-", dir=parent) as temporary:
        log("preparing")
        folder, shared_folder = Path(temporary) / "session", shared_folder or Path(temporary) / "shared"
        folder.mkdir()
        shared_folder.mkdir(exist_ok=True)
        prepared = case.prepare(Setup(size, folder, shared_folder, is_first))
        if isinstance(prepared, Scaling):
            result = _run_scaling(name, case, prepared, log)
        else:
            result = _run_comparison(name, case, prepared, log)
    return replace(result, seconds=time.monotonic() - start)


@dataclass(frozen=True)
class Session:
    """One session of a case.

    Args:
        case: The name of the case in the registry.
        size: The size of the work; see `Setup`.
        shared_folder: The folder that the sessions of the case share.
        is_first: Whether this is the first session of the case.
        time_limit: The seconds after which the session is given up.
    """

    case: str
    size: Size
    shared_folder: Path
    is_first: bool
    time_limit: float

    def run(self, log: Callable[[str], None]) -> CaseResult:
        """Run the session in this process.

        Raises:
            TimedOut: The session did not end in time.
            Exception: Whatever the case raises.
        """
        with _time_limit(self.time_limit):
            return run_case(self.case, self.size, log, self.shared_folder, is_first=self.is_first)

    def run_in_new_process(self, log: Callable[[str], None]) -> CaseResult:
        """Run the session in a new process.

        Raises:
            PbtDisentError: The session raised something there, hung, or died.
        """
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run_and_send, args=(sender, self, log))
        process.start()
        sender.close()
        try:
            if not receiver.poll(self.time_limit + GRACE):
                raise TimedOut(f"hangs since {self.time_limit:g} s, and was killed")
            result: CaseResult | str = receiver.recv()
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
        if isinstance(result, str):
            raise PbtDisentError(result)
        return result


def describe_error(error: Exception) -> str:
    """Return what a case raised, in one line."""
    kind = "" if isinstance(error, PbtDisentError) else f"{type(error).__name__}: "
    return f"{kind}{' '.join(str(error).split())}"


def _run_and_send(sender: Connection, session: Session, log: Callable[[str], None]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        try:
            sender.send(session.run(log))
        except Exception as error:  # whatever a case or another library raises, the other cases go on
            sender.send(describe_error(error))


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimedOut` in the block when its time is up; in any thread but the first, Python knows no alarms."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimedOut(f"is not at its end after {seconds:g} s, and was given up")

    handler = signal.signal(signal.SIGALRM, give_up)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def _run_comparison(name: str, case: Case, comparison: Comparison, log: Callable[[str], None]) -> CaseResult:
    log("comparing results")
    agreement = comparison.check()
    runnable = [baseline for baseline in comparison.baselines if isinstance(baseline, Implementation)]
    implementations = [comparison.ours, *runnable]
    our_rounds, *baseline_rounds = time_in_turns(implementations, comparison.repeats, log)
    costs = [quartiles(list(itertools.chain.from_iterable(rounds))) for rounds in (our_rounds, *baseline_rounds)]
    inverse = case.ours_over_baseline
    timed = [
        BaselineResult(baseline.name, cost, ratios(our_rounds, rounds) if inverse else ratios(rounds, our_rounds))
        for baseline, cost, rounds in zip(runnable, costs[1:], baseline_rounds, strict=True)
    ]
    timed.sort(key=lambda row: row.cost.median if row.cost else 0.0)
    log("measuring")
    medians = {implementation.name: cost.median for implementation, cost in zip(implementations, costs, strict=True)}
    measurements = comparison.measurements(medians)
    not_timed = [
        _compare_with_untimed(baseline, costs[0], inverse)
        for baseline in comparison.baselines
        if not isinstance(baseline, Implementation)
    ]
    return CaseResult(
        case=name,
        summary=case.summary,
        ratio=timed[0].ratio if timed else None,
        ratio_of="ours / baseline" if inverse else "baseline / ours",
        baseline=timed[0].baseline if timed else None,
        goal=case.goal,
        ours=costs[0],
        unit=comparison.unit,
        baselines=(*timed, *not_timed),
        agreement=agreement,
        measurements=tuple(measurements),
        repeats=comparison.repeats,
    )


def _compare_with_untimed(baseline: ComputedCost | Unavailable, ours: Spread, inverse: bool) -> BaselineResult:
    if isinstance(baseline, Unavailable):
        return _unavailable(baseline)
    low, median, high = sorted(
        our_cost / baseline.cost if inverse else baseline.cost / our_cost
        for our_cost in (ours.low, ours.median, ours.high)
    )
    cost = Spread(baseline.cost, baseline.cost, baseline.cost, 0)
    return BaselineResult(baseline.name, cost, Spread(median, low, high, 0), f"computed: {baseline.how}")


def _unavailable(baseline: Unavailable) -> BaselineResult:
    return BaselineResult(baseline.name, None, None, f"not run: {baseline.reason}")


def _run_scaling(name: str, case: Case, scaling: Scaling, log: Callable[[str], None]) -> CaseResult:
    log("comparing results")
    agreement = scaling.check()
    runnable = [baseline for baseline in scaling.baselines if isinstance(baseline, ScalingImplementation)]
    implementations = [scaling.ours, *runnable]
    rounds = [_scaling_round(scaling, implementations, number, log) for number in range(scaling.repeats)]
    our_rounds, *baseline_rounds = zip(*rounds, strict=True)
    curves = [
        _scaling_curve(implementation.name, costs)
        for implementation, costs in zip(implementations, (our_rounds, *baseline_rounds), strict=True)
    ]
    baselines = [
        *(
            _compare_at_largest(scaling.dimension, baseline.name, our_rounds, costs)
            for baseline, costs in zip(runnable, baseline_rounds, strict=True)
        ),
        *(_unavailable(baseline) for baseline in scaling.baselines if isinstance(baseline, Unavailable)),
    ]
    log("measuring")
    return CaseResult(
        case=name,
        summary=case.summary,
        ratio=quartiles([2.0 ** (exponent(costs) - scaling.expected_exponent) for costs in our_rounds]),
        ratio_of="growth per doubling / what it should be",
        baseline=f"{scaling.dimension} to the power {scaling.expected_exponent:g}",
        goal=scaling.TOLERANCE,
        ours=quartiles([costs[scaling.sizes[-1]] for costs in our_rounds]),
        unit=scaling.unit,
        baselines=baselines,
        agreement=agreement,
        measurements=tuple(scaling.measurements(dict(zip(curves[0].sizes, curves[0].costs, strict=True)))),
        repeats=scaling.repeats,
        dimension=scaling.dimension,
        expected_exponent=scaling.expected_exponent,
        curves=curves,
    )


def _scaling_round(
    scaling: Scaling, implementations: list[ScalingImplementation], number: int, log: Callable[[str], None]
) -> list[CostBySize]:
    """Return what each implementation cost at each size, in one round; every second one runs in reverse order."""
    costs: list[CostBySize] = [{} for _ in implementations]
    turns = [(size, index) for size in scaling.sizes for index in range(len(implementations))]
    for size, index in turns if number % 2 == 0 else reversed(turns):
        implementation = implementations[index]
        if implementation.max_size is None or size <= implementation.max_size:
            log(f"round {number + 1} of {scaling.repeats}: {implementation.name}, {size:,} {scaling.dimension}")
            costs[index][size] = implementation.cost(size)
    return costs


def _scaling_curve(name: str, rounds: tuple[CostBySize, ...]) -> ScalingCurve:
    sizes = sorted(rounds[0])
    medians = {size: float(np.median([costs[size] for costs in rounds])) for size in sizes}
    largest = {size: medians[size] for size in sizes[-2:]}
    exponents = quartiles([exponent(costs) for costs in rounds])
    return ScalingCurve(name, sizes, list(medians.values()), exponents, exponent(largest))


def _compare_at_largest(
    dimension: str, name: str, ours: tuple[CostBySize, ...], theirs: tuple[CostBySize, ...]
) -> BaselineResult:
    """Compare at the largest size that the baseline was asked for."""
    size = max(theirs[0])
    ratio = quartiles([their[size] / our[size] for their, our in zip(theirs, ours, strict=True)])
    return BaselineResult(f"{name}, {size:,} {dimension}", quartiles([costs[size] for costs in theirs]), ratio)
