"""Write the figures of a run's report as PNG and SVG, for papers and slides."""

from __future__ import annotations

import argparse
from pathlib import Path

from pbt_disent.cli.common import add_runs

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", metavar="RUN", help="path of a run, or its name in the folder of runs")
    parser.add_argument("--out", type=Path, help="folder for the figures (default: figures in the run folder)")
    add_runs(parser)


def call(options: argparse.Namespace) -> int:
    """Write the figures and say where."""
    from pbt_disent.report.export import write_figures
    from pbt_disent.store.runs import find_run

    folder = find_run(options.run, options.runs).path
    target = options.out or folder / "figures"
    write_figures(folder, target)
    print(target)
    return 0
