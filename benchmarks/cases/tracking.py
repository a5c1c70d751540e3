"""What the record in MLflow costs a run: processor time, and how it grows with the members."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from benchmarks.case import (
    CASES,
    Case,
    Comparison,
    Disagreement,
    Goal,
    Implementation,
    Measurement,
    Scaling,
    ScalingImplementation,
    Setup,
)
from pbt_disent.types import Json

__all__ = ["prepare_cost", "prepare_members"]

GENERATION_SECONDS = 30.0
"""The duration of a generation, after which the writer finds a new one."""
EXPERIMENT, VALUE_BY_VALUE, WRITER = "pbt-disent/bench", "one call for each value", "the writer"
LARGE = (10_000, 100)
"""The members and generations that the cost is extrapolated to."""
COST_GOAL = Goal(2.0, at_most=True)
"""Per cent of the processors' time: what a run that keeps all of them busy lasts longer."""


def prepare_cost(setup: Setup) -> Comparison:
    """56 members with 30 metrics each over 20 generations of 30 s, on a clock that is set forward instead of waiting.

    Ours is the writer's own way, with its pauses, without making the runs, which happens once, and without the picture
    of a round, which is drawn rarely. The baseline makes one call for each metric, parameter and tag, over
    one generation.
    """
    from benchmarks.tracking import latest_metrics, log_value_by_value, password_server, population_records

    members, generations = setup.pick(56, 56, 3), setup.pick(10, 4, 3)
    store, numbers = f"sqlite:///{setup.folder / 'mlflow.db'}", count()
    records = population_records(setup.folder / "run", members, generations, metrics=30)

    def write(uri: str) -> list[float]:
        return _write_when_due(setup.folder / "run", uri, f"run {next(numbers)}", records)

    def baseline() -> list[float]:
        start = time.process_time()
        log_value_by_value(store, VALUE_BY_VALUE, records[1:2])
        return [time.process_time() - start]

    def check() -> str:
        small = population_records(setup.folder / "small", 4, 4, metrics=30)
        log_value_by_value(store, "agreement", small)
        _write_when_due(setup.folder / "small", store, "agreement", small, experiment="agreement of ours")
        return _check_metrics(latest_metrics(store, "agreement of ours"), latest_metrics(store, "agreement"))

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        processors = len(os.sched_getaffinity(0))
        one_percent = GENERATION_SECONDS * processors / 100
        name = f"of {processors} processors while a generation lasts 30 s, on SQLite"
        measured = [Measurement(name, medians[WRITER] / one_percent, "%", COST_GOAL)]
        if importlib.util.find_spec("flask_wtf") is None or not setup.is_first_session:
            return measured
        servers = (("a server that hashes each password once", 300.0), ("one that does so each time", 0.0))
        for name, cache_seconds in servers[: setup.pick(2, 0, 1)]:
            folder = setup.folder / f"server-{cache_seconds:.0f}"
            folder.mkdir()
            with password_server(folder, cache_seconds=cache_seconds) as server:
                before = server.processor_seconds()
                client = sum(write(server.uri)) / (generations - 1)
                served = (server.processor_seconds() - before) / generations
            measured.append(Measurement(f"the same, writing to {name}", client / one_percent, "%", COST_GOAL))
            measured.append(Measurement("and of the server's processors", served / one_percent, "%"))
        return measured

    return Comparison(
        Implementation(WRITER, lambda: write(store)),
        [Implementation(VALUE_BY_VALUE, baseline)],
        check,
        repeats=1,
        unit="CPU s",
        measurements=measurements,
    )


def _write_when_due(
    folder: Path, uri: str, name: str, records: Sequence[Json], experiment: str = EXPERIMENT
) -> list[float]:
    """Send generations when the writer would, and return the processor time of each, without the first's."""
    from pbt_disent.tracking.records import run_record
    from pbt_disent.tracking.spool import Spool
    from pbt_disent.tracking.tracking_store import resolve_store
    from pbt_disent.tracking.uploader import Uploader, throttle_seconds

    for old in folder.glob("spool.*"):
        old.unlink()
    spool = Spool(folder)
    spool.append(run_record(1, name, name="bench", experiment=experiment, store="bench", tags={}, data=None))
    uploader = Uploader(folder, spool, resolve_store(folder, uri, {}))
    costs: list[float] = []
    now, pending = 0.0, list(records)
    while pending:
        now = max(now, GENERATION_SECONDS * (len(records) - len(pending) + 1))
        appended = 0
        while pending and GENERATION_SECONDS * (len(records) - len(pending) + 1) <= now:
            spool.append(pending.pop(0))
            appended += 1
        start, used = time.monotonic(), time.process_time()
        uploader.upload()
        duration, used = time.monotonic() - start, time.process_time() - used
        now += duration
        if len(records) - len(pending) > appended:  # not the first, which makes the runs
            now += throttle_seconds(duration)
            costs += [used / appended] * appended
    return costs


def prepare_members(setup: Setup) -> Scaling:
    """Send the generations of a population to a SQLite store: 1,000 members over 20 generations at full size.

    Ours is the writer's thread, from the spool; the baseline makes one call for each metric, parameter and tag, as
    MLflow's own quickstart does. Training waits for neither: it waits for what `MlflowWriter.notify` takes.
    """
    from benchmarks.tracking import latest_metrics, log_value_by_value, population_records
    from pbt_disent.tracking.records import run_record
    from pbt_disent.tracking.spool import Spool
    from pbt_disent.tracking.tracking_store import resolve_store
    from pbt_disent.tracking.uploader import Uploader

    generations = setup.pick(20, 3, 2)
    sizes = setup.pick((4, 16, 125, 1000), (6, 18, 54), (2, 4))
    uri = f"sqlite:///{setup.folder / 'mlflow.db'}"
    records = {size: population_records(setup.folder / f"run-{size}", size, generations) for size in sizes}
    numbers, appended = count(), dict[int, float]()

    def ours(members: int) -> float:
        number = next(numbers)
        folder = setup.folder / f"spool-{number}"
        folder.mkdir()
        spool = Spool(folder)
        spool.append(
            run_record(1, f"run {number}", name="bench", experiment=EXPERIMENT, store="bench", tags={}, data=None)
        )
        start = time.perf_counter()
        for record in records[members]:
            spool.append(record)
        appended[members] = time.perf_counter() - start
        start = time.perf_counter()
        Uploader(folder, spool, resolve_store(folder, uri, {})).upload()
        return time.perf_counter() - start

    def baseline(members: int) -> float:
        start = time.perf_counter()
        log_value_by_value(uri, VALUE_BY_VALUE, records[members])
        return time.perf_counter() - start

    def check() -> str:
        ours(sizes[0])
        baseline(sizes[0])
        return _check_metrics(latest_metrics(uri, EXPERIMENT), latest_metrics(uri, VALUE_BY_VALUE))

    def measurements(medians: Mapping[int, float]) -> Sequence[Measurement]:
        largest = sizes[-1]
        seconds = medians[largest] / (largest * generations)
        hours = seconds * LARGE[0] * LARGE[1] / 3600
        return [
            Measurement("for a member and generation", 1000 * seconds, "ms"),
            Measurement("of the driver for them, on disk", 1e6 * appended[largest] / (largest * generations), "µs"),
            Measurement(f"{LARGE[0]:,} members over {LARGE[1]} generations, extrapolated", hours, "h"),
        ]

    return Scaling(
        "members",
        sizes,
        1,
        ScalingImplementation("one batch for each member and generation", ours),
        check,
        repeats=1,
        baselines=[ScalingImplementation(VALUE_BY_VALUE, baseline, max_size=setup.pick(16, 18, 4))],
        measurements=measurements,
    )


def _check_metrics(ours: Mapping[str, Json], baseline: Mapping[str, Json]) -> str:
    if not ours or ours != baseline:
        raise Disagreement("the store has different metrics")
    return f"both leave the same {sum(map(len, ours.values()))} metrics of {len(ours)} members"


CASES.register("tracking-cost")(
    Case("processor time of a population's record in MLflow: against a call for each value", prepare_cost)
)
CASES.register("grow-tracking")(
    Case(
        "a population's record in MLflow: against linear growth in members, and a call for each value",
        prepare_members,
        max_sessions=3,
    )
)
