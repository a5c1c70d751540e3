"""Print what a submitted run has printed."""

from __future__ import annotations

import argparse

from pbt_disent.cli.remote import add_submitted, connect

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_submitted(parser)
    parser.add_argument("--follow", action="store_true", help="go on until it ends")


def call(options: argparse.Namespace) -> int:
    """Print the log of the newest job of the run."""
    jobs = connect(options)
    job = jobs.find(options.run)
    if not options.follow:
        print(jobs.log(job), end="")
        return 0
    for piece in jobs.follow(job):
        print(piece, end="", flush=True)
    return 0
