"""How the recording in MLflow grows with the members of a population."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import count

from benchmarks.case import CASES, Case, Disagreement, Grower, Growth, Measure, Setting

__all__ = ["prepare"]

OURS, THEIRS = "pbt-disent/bench", "one call for each value"
LARGE = (10_000, 100)
"""Members and generations that the cost is extrapolated to."""


def prepare(setting: Setting) -> Growth:
    """Send the generations of a population to a SQLite store: 1,000 members over 20 generations at full size.

    Ours is the writer's thread, from the spool; the peer makes one call for each metric, parameter and tag, as
    MLflow's own quickstart does. Training waits for neither: it waits for what `MlflowWriter.notify` takes.
    """
    from benchmarks.peers.plain_logging import latest_metrics, log_plainly
    from benchmarks.tracked import population_records
    from pbt_disent.tracking.records import run_record
    from pbt_disent.tracking.spool import Spool
    from pbt_disent.tracking.tracking_store import resolve_store
    from pbt_disent.tracking.uploader import Uploader

    generations = setting.pick(20, 3, 2)
    sizes = setting.pick((4, 16, 125, 1000), (6, 18, 54), (2, 4))
    uri = f"sqlite:///{setting.folder / 'mlflow.db'}"
    records = {size: population_records(setting.folder / f"run-{size}", size, generations) for size in sizes}
    numbers, appended = count(), dict[int, float]()

    def ours(members: int) -> float:
        number = next(numbers)
        folder = setting.folder / f"spool-{number}"
        folder.mkdir()
        spool = Spool(folder)
        spool.append(run_record(1, f"run {number}", name="bench", experiment=OURS, store="bench", tags={}, data=None))
        begun = time.perf_counter()
        for record in records[members]:
            spool.append(record)
        appended[members] = time.perf_counter() - begun
        begun = time.perf_counter()
        Uploader(folder, spool, resolve_store(folder, uri, {})).upload()
        return time.perf_counter() - begun

    def theirs(members: int) -> float:
        begun = time.perf_counter()
        log_plainly(uri, THEIRS, records[members])
        return time.perf_counter() - begun

    def agree() -> str:
        ours(sizes[0])
        theirs(sizes[0])
        mine, plain = latest_metrics(uri, OURS), latest_metrics(uri, THEIRS)
        if not mine or mine != plain:
            raise Disagreement("the two ways leave different metrics in the store")
        return f"both leave the same {sum(map(len, mine.values()))} metrics of {len(mine)} members"

    def measures(medians: Mapping[int, float]) -> Sequence[Measure]:
        most = sizes[-1]
        piece = medians[most] / (most * generations)
        hours = piece * LARGE[0] * LARGE[1] / 3600
        return [
            Measure("for a member and generation", 1000 * piece, "ms"),
            Measure("of the driver for them, on disk", 1e6 * appended[most] / (most * generations), "µs"),
            Measure(f"{LARGE[0]:,} members over {LARGE[1]} generations, extrapolated", hours, "h"),
        ]

    peer = Grower(THEIRS, theirs, most=setting.pick(16, 18, 4))
    return Growth(
        "members",
        sizes,
        1,
        Grower("one batch for each member and generation", ours),
        agree,
        1,
        [peer],
        measures=measures,
    )


CASES.register("grow-tracking")(
    Case(
        "a population's record in MLflow: against linear growth in members, and a call for each value",
        prepare,
        most_sessions=3,
    )
)
