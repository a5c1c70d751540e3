"""Write the report of a run again: one self-contained page."""

from __future__ import annotations

import argparse

from pbt_disent.cli.common import add_runs

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", metavar="RUN", help="path of a run, or its name in the folder of runs")
    add_runs(parser)


def call(options: argparse.Namespace) -> int:
    """Write the report and say where."""
    from pbt_disent.report.page import write_report
    from pbt_disent.store.runs import find_run

    print(write_report(find_run(options.run, options.runs).path))
    return 0
