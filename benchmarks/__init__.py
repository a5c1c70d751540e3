"""The benchmark: this package and every other way to do the same work, timed in turns on one machine.

Results are ratios, not seconds. `benchmarks.case` says what a case is, the files in `benchmarks.cases` are the cases,
and `benchmarks.baselines` holds the other ways, written from their published descriptions. Run it from a clone:
``python -m benchmarks``.
"""

from __future__ import annotations

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
    Unavailable,
)
from benchmarks.results import CaseResult
from benchmarks.runner import run_case

__all__ = [
    "CASES",
    "Case",
    "CaseResult",
    "Comparison",
    "Disagreement",
    "Goal",
    "Implementation",
    "Measurement",
    "Scaling",
    "ScalingImplementation",
    "Setup",
    "Unavailable",
    "run_case",
]
