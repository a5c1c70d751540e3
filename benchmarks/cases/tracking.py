"""What the recording in MLflow takes from a run: processor time of the writer, and of a server with a password."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Measure, Setting, Side
from pbt_disent.types import Json

__all__ = ["prepare"]

LASTS = 30.0
"""Seconds of a generation: the writer finds a new one as often."""
OURS, THEIRS = "pbt-disent/bench", "one call for each value"
GOAL = Goal(2.0, at_most=True)
"""Per cent of the time: what a run that keeps all processors busy lasts longer."""


def prepare(setting: Setting) -> Contest:
    """56 members with 30 metrics each over 20 generations of 30 s, on a clock that is set forward instead of waiting.

    Ours is the writer's own way, with its rests, without making the runs, which happens once, and without the picture
    of a round, which is drawn rarely. The peer makes one call for each metric, parameter and tag, over
    one generation.
    """
    from benchmarks.peers.plain_logging import latest_metrics, log_plainly
    from benchmarks.tracked import password_server, population_records

    members, generations = setting.pick(56, 56, 3), setting.pick(10, 4, 3)
    store, numbers = f"sqlite:///{setting.folder / 'mlflow.db'}", count()
    records = population_records(setting.folder / "run", members, generations, metrics=30)

    def record(uri: str) -> list[float]:
        return _record(setting.folder / "run", uri, f"run {next(numbers)}", records)

    def theirs() -> list[float]:
        begun = time.process_time()
        log_plainly(store, THEIRS, records[1:2])
        return [time.process_time() - begun]

    def agree() -> str:
        small = population_records(setting.folder / "small", 4, 4, metrics=30)
        log_plainly(store, "agreement", small)
        _record(setting.folder / "small", store, "agreement", small, experiment="agreement of ours")
        mine, plain = latest_metrics(store, "agreement of ours"), latest_metrics(store, "agreement")
        if not mine or mine != plain:
            raise Disagreement("the two ways leave different metrics in the store")
        return f"both leave the same {sum(map(len, mine.values()))} metrics of {len(mine)} members"

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        processors = len(os.sched_getaffinity(0))
        whole = LASTS * processors / 100
        name = f"of {processors} processors while a generation lasts 30 s, on SQLite"
        found = [Measure(name, medians["the writer"] / whole, "%", GOAL)]
        if importlib.util.find_spec("flask_wtf") is None or not setting.first:
            return found
        servers = (("a server that hashes each password once", 300.0), ("one that does so each time", 0.0))
        for name, remember in servers[: setting.pick(2, 0, 1)]:
            folder = setting.folder / f"server-{remember:.0f}"
            folder.mkdir()
            with password_server(folder, remember=remember) as server:
                before = server.processor_seconds()
                client = sum(record(server.uri)) / (generations - 1)
                served = (server.processor_seconds() - before) / generations
            found.append(Measure(f"the same, writing to {name}", client / whole, "%", GOAL))
            found.append(Measure("and of the server's processors", served / whole, "%"))
        return found

    return Contest(
        Side("the writer", lambda: record(store)),
        [Side("one call for each value", theirs)],
        agree,
        1,
        unit="CPU s",
        measures=measures,
    )


def _record(folder: Path, uri: str, name: str, records: Sequence[Json], experiment: str = OURS) -> list[float]:
    """Deliver generations when the writer would, and return the processor time of each, without the first's."""
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
    now, waiting = 0.0, list(records)
    while waiting:
        now = max(now, LASTS * (len(records) - len(waiting) + 1))
        noted = 0
        while waiting and LASTS * (len(records) - len(waiting) + 1) <= now:
            spool.append(waiting.pop(0))
            noted += 1
        begun, used = time.monotonic(), time.process_time()
        uploader.upload()
        took, used = time.monotonic() - begun, time.process_time() - used
        now += took
        if len(records) - len(waiting) > noted:  # not the first, which makes the runs
            now += throttle_seconds(took)
            costs += [used / noted] * noted
    return costs


CASES.register("tracking-cost")(
    Case("processor time of a population's record in MLflow: against a call for each value", prepare)
)
