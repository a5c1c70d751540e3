"""How often, and how much at once, a store is written to: a call for each member costs more than the numbers in it.

MLflow takes the metrics of one run in a call, whatever their steps. Sent together, two generations cost little more
than one, so the writer rests between deliveries and then sends what has gathered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pbt_disent.tracking.spool import SpooledRecord
from pbt_disent.types import Json

__all__ = ["LONGEST_REST", "SHARE", "grouped", "rest"]

SHARE = 0.01
"""Of the time that the writer may be busy, until resting for it would take longer than `LONGEST_REST`."""
LONGEST_REST = 60.0
"""Seconds that MLflow may be behind for no other reason than that the writer rests."""
_MOST_POINTS = 100_000
"""Metrics that are held in memory to be sent together, unless one generation has more."""


def rest(seconds: float) -> float:
    """Return how many seconds to rest behind a delivery that took `seconds`."""
    return min(seconds / SHARE, LONGEST_REST)


def grouped(records: Iterable[SpooledRecord]) -> Iterator[Sequence[SpooledRecord]]:
    """Yield records that can be sent together: generations of one round that follow each other, or one of another kind.

    Args:
        records: of a spool, in order.
    """
    group: list[SpooledRecord] = []
    points = 0
    for record in records:
        size = _points(record.content)
        if group and (not _alike(group[-1].content, record.content) or points + size > _MOST_POINTS):
            yield group
            group, points = [], 0
        group.append(record)
        points += size
    if group:
        yield group


def _alike(one: Json, other: Json) -> bool:
    if one["kind"] != "generation" or other["kind"] != "generation":
        return False
    return bool((one["path"], one["identity"]) == (other["path"], other["identity"]))


def _points(record: Json) -> int:
    return sum(len(member["metrics"]) for member in record.get("members", ()))
