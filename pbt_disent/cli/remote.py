"""What the verbs share that speak to a cluster from outside."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pbt_disent.tune.jobs import Jobs

__all__ = ["add_dashboard", "add_submitted", "connect"]

DEFAULT = "http://127.0.0.1:8265"


def add_dashboard(parser: argparse.ArgumentParser) -> None:
    """Add the address of the cluster's dashboard."""
    parser.add_argument(
        "--address",
        default=os.environ.get("RAY_API_SERVER_ADDRESS", DEFAULT),
        metavar="URL",
        help="dashboard of the cluster, best through a tunnel (default: RAY_API_SERVER_ADDRESS, or " + DEFAULT + ")",
    )
    parser.add_argument(
        "--allow-unauthenticated", action="store_true", help="use a cluster that anyone who reaches it may use"
    )


def add_submitted(parser: argparse.ArgumentParser) -> None:
    """Add RUN and the address."""
    parser.add_argument("run", metavar="RUN", help="name of a submitted run")
    add_dashboard(parser)


def connect(options: argparse.Namespace) -> Jobs:
    """Return the jobs of the cluster that the arguments name."""
    from pbt_disent.tune.jobs import Jobs

    return Jobs(options.address, allow_unauthenticated=options.allow_unauthenticated)
