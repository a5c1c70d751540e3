"""List the runs that were submitted to a cluster."""

from __future__ import annotations

import argparse
import time

from pbt_disent.cli.common import duration
from pbt_disent.cli.remote import add_dashboard, connect

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_dashboard(parser)


def call(options: argparse.Namespace) -> int:
    """Print one line per run."""
    jobs = connect(options)
    for job in jobs.all():
        age = "" if job.begun is None else duration((job.ended or time.time()) - job.begun)
        print(f"{job.run:24} {job.status.lower():10} {age:9} {job.config}")
    return 0
