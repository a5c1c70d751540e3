"""Send to MLflow what it does not have yet of a run, after an outage."""

from __future__ import annotations

import argparse

from pbt_disent.cli.common import add_runs

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", metavar="RUN", help="path of a run, or its name in the folder of runs")
    add_runs(parser)


def call(options: argparse.Namespace) -> int:
    """Replay the run's spool and say where it went."""
    from pbt_disent.report.export import population_picture
    from pbt_disent.store.finding import find_run
    from pbt_disent.tracking.uploader import sync

    folder = find_run(options.run, options.runs)
    destination = sync(folder.path, draw_population=population_picture)
    print(f"{destination.description}: complete")
    return 0
