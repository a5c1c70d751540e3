"""Say how far a submitted run is."""

from __future__ import annotations

import argparse
import json
import re
import time

from pbt_disent.cli.common import duration
from pbt_disent.cli.remote import add_submitted, connect
from pbt_disent.types import Json

__all__ = ["add_arguments", "call", "progress_of"]

GENERATION = re.compile(
    r"^  (?P<round>\S+) generation (?P<generation>\d+): best (?P<best>\S+)(?: \[(?P<low>\S+) to (?P<high>\S+)\])?, "
    r"median \S+, replaced .*; (?P<left>.+)$"
)
RETRY = "supervisor: "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_submitted(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def call(options: argparse.Namespace) -> int:
    """Print the state of the newest job of the run, and what its log says last; exit with 1 if it failed."""
    jobs = connect(options)
    job = jobs.find(options.run)
    found = {
        "run": job.run,
        "job": job.id,
        "status": job.status,
        "message": job.message,
        "seconds": None if job.begun is None else (job.ended or time.time()) - job.begun,
        **progress_of(jobs.log(job)),
    }
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)
    return 1 if job.status == "FAILED" else 0


def progress_of(log: str) -> Json:
    """Read the last generation, the best score and the last retry from a run's output.

    Args:
        log: what `pbt_disent.cli.live.Progress` and `pbt_disent.tune.supervisor` have printed.
    """
    found: Json = {"round": None, "generation": None, "best": None, "interval": None, "left": None, "retry": None}
    for line in log.splitlines():
        if generation := GENERATION.match(line):
            best = generation["best"]
            found["round"], found["generation"] = generation["round"], int(generation["generation"])
            found["best"] = None if best == "none" else float(best)
            low, high = generation["low"], generation["high"]
            found["interval"] = None if low is None else [float(low), float(high)]
            found["left"] = generation["left"]
        elif line.startswith(RETRY):
            found["retry"] = line.removeprefix(RETRY)
    return found


def _print(found: Json) -> None:
    age = "" if found["seconds"] is None else f", for {duration(found['seconds'])}"
    print(f"{found['run']}: {found['status'].lower()}{age} (job {found['job']})")
    if found["generation"] is None:
        print("  no generation committed yet")
    else:
        best = "none" if found["best"] is None else f"{found['best']:.3f}"
        if found["interval"]:
            best += " [{:.3f} to {:.3f}]".format(*found["interval"])
        print(f"  round {found['round']}, generation {found['generation']}, best score {best}; {found['left']}")
    if found["retry"]:
        print(f"  {found['retry']}")
    if found["status"] == "FAILED":
        print(f"  {found['message'].partition(', last available logs')[0]}; see: pbt-disent logs {found['run']}")
