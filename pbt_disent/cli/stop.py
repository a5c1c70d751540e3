"""Stop a submitted run: what it is committing is committed, then it ends."""

from __future__ import annotations

import argparse

from pbt_disent.cli.remote import add_submitted, connect

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_submitted(parser)


def call(options: argparse.Namespace) -> int:
    """Stop the newest job of the run, and wait until it has ended."""
    jobs = connect(options)
    job = jobs.stop(jobs.find(options.run))
    print(f"{job.run}: {job.status.lower()}; every committed generation is safe")
    print(f"Next    pbt-disent resume {job.run} --address {jobs.address}")
    return 0
