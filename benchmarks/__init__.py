"""The benchmark: our way of doing something beside every other way there is, on the same work, in one run.

Ratios and not seconds: both sides run in turns on the same machine. `benchmarks.case` says what a case is, the
files in `benchmarks.cases` are the cases, `benchmarks.peers` holds the other ways, written from their
descriptions.
"""

from __future__ import annotations

from benchmarks.case import (
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
from benchmarks.finding import Finding
from benchmarks.runner import run_case

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
