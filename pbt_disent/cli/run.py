"""Run a preset or a YAML file from start to end, on this machine or on the Ray that it belongs to."""

from __future__ import annotations

import argparse

from pbt_disent.cli.common import add_cluster, add_config_arguments, add_runs, config_of

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_config_arguments(parser)
    add_cluster(parser)
    add_runs(parser)
    parser.add_argument("--name", help="name of the run (default: the preset and the first free number)")


def call(options: argparse.Namespace) -> int:
    """Create the run's folder and execute it."""
    from pbt_disent.api import check
    from pbt_disent.cli.execution import check_resources, execute_run
    from pbt_disent.cli.progress import bar
    from pbt_disent.store.runs import create_run

    preset, config = config_of(options)
    check_resources(config)
    with bar("images") as progress:
        check(config, progress)
    folder = create_run(config, preset, options.runs, options.name)
    return execute_run(folder, seconds=2.0)
