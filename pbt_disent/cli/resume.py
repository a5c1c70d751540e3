"""Go on with a run that was stopped, killed or is to run longer."""

from __future__ import annotations

import argparse
from pathlib import Path

from pbt_disent.cli.common import add_changes, add_cluster, add_runs, resource_overrides

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", metavar="RUN", help="path of a run, or its name in the folder of runs")
    add_changes(parser, "extend the run, for example population.max_generations=40")
    add_cluster(parser, "join the Ray that runs there, or have the cluster with this dashboard (a URL) go on with it")
    add_runs(parser)


def call(options: argparse.Namespace) -> int:
    """Extend the run's config where asked, and execute it from wherever its record stands."""
    from pbt_disent.api import extend
    from pbt_disent.cli.execution import check_resources, execute_run
    from pbt_disent.store.runs import find_run

    if "://" in (options.address or ""):
        return _on_a_cluster(options)
    folder = find_run(options.run, options.runs)
    check_resources(extend(folder, [*resource_overrides(options), *options.overrides]))
    return execute_run(folder, seconds=1.0)


def _on_a_cluster(options: argparse.Namespace) -> int:
    """Have the cluster whose dashboard was named go on with the run."""
    from pbt_disent.cli.remote import connect
    from pbt_disent.store.filesystem import join_location

    jobs = connect(options)
    here = argparse.Namespace(**{**vars(options), "address": None})
    changes = ["resources.address=null", *resource_overrides(here), *options.overrides]
    job = jobs.resume(options.run, _full(options.runs), [part for one in changes for part in ("--set", one)])
    print(
        f"Submitted {job.run} to {jobs.address} again, as job {job.id}; "
        f"its folder there is {join_location(job.runs, job.run)}"
    )
    return 0


def _full(runs: Path | str) -> str:
    return runs if isinstance(runs, str) else str(runs.resolve())
