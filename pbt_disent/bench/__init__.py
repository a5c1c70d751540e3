"""The benchmark: our way of doing something beside every other way there is, on the same work, in one run.

Ratios and not seconds: both sides run in turns on the same machine. `pbt_disent.bench.case` says what a case is, the
files in `pbt_disent.bench.cases` are the cases, `pbt_disent.bench.peers` holds the other ways, written from their
descriptions.
"""

from __future__ import annotations

from pbt_disent.bench.case import (
    CASES,
    Case,
    Contest,
    Disagreement,
    Goal,
    Grower,
    Growth,
    Measure,
    NotRun,
    Setting,
    Side,
)
from pbt_disent.bench.finding import Finding
from pbt_disent.bench.runner import run_case

__all__ = [
    "CASES",
    "Case",
    "Contest",
    "Disagreement",
    "Finding",
    "Goal",
    "Grower",
    "Growth",
    "Measure",
    "NotRun",
    "Setting",
    "Side",
    "run_case",
]
