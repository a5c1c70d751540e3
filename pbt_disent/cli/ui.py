"""Open the MLflow UI on the store of a run."""

from __future__ import annotations

import argparse

from pbt_disent.cli.common import add_runs

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="path or name of a run (default: the newest)")
    parser.add_argument("--port", type=int, default=5000, help="(%(default)s)")
    add_runs(parser)


def call(options: argparse.Namespace) -> int:
    """Serve the UI on the loopback interface until it is interrupted."""
    from pbt_disent.store.runs import find_run, newest_run
    from pbt_disent.tracking.ui import serve

    folder = find_run(options.run, options.runs) if options.run else newest_run(options.runs)
    return serve(folder.path, port=options.port)
