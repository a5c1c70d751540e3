"""Register the final model of a run in MLflow's model registry."""

from __future__ import annotations

import argparse
import re

from pbt_disent.cli.common import add_runs
from pbt_disent.errors import UserError

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", metavar="RUN", help="path of a run, or its name in the folder of runs")
    parser.add_argument("--name", required=True, help="in the registry; each other model gets the next version of it")
    add_runs(parser)


def call(options: argparse.Namespace) -> int:
    """Register the model and say how to load it."""
    from pbt_disent.cli.trained import find_trained
    from pbt_disent.store.finding import find_run
    from pbt_disent.tracking.models import send_model

    if not re.fullmatch(r"\w[\w .-]*", options.name):
        raise UserError(f"--name {options.name}", "must be letters, digits, _, -, . and blanks", "give another name")
    run = find_run(options.run, options.runs)
    find_trained(str(run.path), options.runs)
    lease = run.lease()
    try:
        destination = send_model(run.path, registered_name=options.name)
    finally:
        lease.release()
    uri = destination.uri if destination.label == "embedded" else destination.label
    print(f"{destination.description}: has the model of {run.name} as {options.name}")
    print(
        f"Next    MLFLOW_TRACKING_URI={uri} mlflow models serve --env-manager local -m 'models:/{options.name}/latest'"
    )
    return 0
