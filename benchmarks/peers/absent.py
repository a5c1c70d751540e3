"""Libraries that score representations and have no part in this, each with the reason that was found by trying."""

from __future__ import annotations

from benchmarks.case import NotRun

__all__ = ["ABSENT"]

ABSENT = (
    NotRun("disentanglement_lib 1.5", "needs TensorFlow 1.14, which cannot be installed for this Python"),
    NotRun("disent", "0.9 needs Python 3.12; 0.8 scores a data set and its encoder, and takes no codes"),
)
