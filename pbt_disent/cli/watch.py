"""The verb `watch`: show a run in the terminal, here or on a cluster, until it ends."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import Runs, Unauthenticated
from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.cli.snapshot import Snapshot, WatchedFolder
    from pbt_disent.store.run_folder import RunFolder

__all__ = ["watch"]


@verb("watch", "watch runs/demo-1", "watch my-1 --address http://127.0.0.1:8265", "watch s3://bucket/runs/my-1 --once")
def watch(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="The path or name of a run; by default the newest one.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show the run as it is now, and exit.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", help="The time between two looks at the run.")
    ] = 1.0,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="URL", help="The dashboard of the cluster that the run was submitted to."),
    ] = None,
    allow_unauthenticated: Unauthenticated = False,
    runs: Runs = "runs",
) -> int:
    """Show a run in the terminal until it ends.

    The exit code is 1 if the run ended without a result. A submitted run is shown from its folder where that can be
    seen from here, else by what it prints.
    """
    if interval < 0.1:
        raise UserError(f"--interval {interval:g}", "must be at least 0.1", "leave it out")
    if address is None:
        from pbt_disent.cli.snapshot import WatchedFolder

        return _watch_folder(WatchedFolder(_find_local(run, runs)), interval, once=once)
    if run is None:
        raise UserError("watch --address", "needs the name of a run", "see: pbt-disent list")
    return _watch_job(run, address, interval, once=once, allow_unauthenticated=allow_unauthenticated)


def _find_local(run: str | None, runs: str) -> RunFolder:
    from pbt_disent.store.runs import find_run, newest_run

    if run is None:
        return newest_run(runs)
    try:
        return find_run(run, runs)
    except UserError as error:
        if "RAY_API_SERVER_ADDRESS" in os.environ:
            raise UserError(error.value, error.rule, "for a submitted one, add --address") from None
        raise


def _watch_job(run: str, address: str, interval: float, *, once: bool, allow_unauthenticated: bool) -> int:
    """Watch the folder of a submitted run where it can be seen from here; else follow what its job prints."""
    from pbt_disent.cli.jobs import progress_of
    from pbt_disent.cli.live import without_records
    from pbt_disent.cli.snapshot import WatchedFolder
    from pbt_disent.store.runs import find_run
    from pbt_disent.tune.jobs import ENDED, JobClient

    jobs = JobClient(address, allow_unauthenticated=allow_unauthenticated)
    job = jobs.find(run)
    shared = Path(job.runs) / job.run

    def visible_folder() -> WatchedFolder | None:
        if not Path(job.runs).is_absolute() or not (shared / "run.json").exists():
            return None
        resume = f"pbt-disent resume {job.run} --address {jobs.address}"
        return WatchedFolder(find_run(shared), lambda: jobs.find(job.run).status not in ENDED, resume)

    if folder := visible_folder():
        return _watch_folder(folder, interval, once=once)
    if once:
        record = progress_of(jobs.read_log(job))
        where = "" if record["generation"] is None else f", round {record['round']}, generation {record['generation']}"
        print(f"{job.run}: {job.status.lower()}{where}")
        return 0
    for line in without_records(jobs.follow_log(job)):
        print(line, end="", flush=True)
        if folder := visible_folder():  # the run had not created it before
            return _watch_folder(folder, interval, once=once)
    job = jobs.find(run)
    print(f"{job.run}: {job.status.lower()}")
    return 0 if job.status == "SUCCEEDED" else 1


def _watch_folder(folder: WatchedFolder, interval: float, *, once: bool) -> int:
    from rich.console import Console
    from rich.live import Live

    from pbt_disent.cli.watch_table import render

    console = Console()
    snapshot = folder.read()
    if once:
        console.print(render(folder, snapshot))
        return 0
    if not console.is_terminal:
        return _print_lines(folder, snapshot, interval)
    with Live(render(folder, snapshot), console=console, auto_refresh=False, screen=False) as live:
        while snapshot.state in {"starting", "running"}:
            time.sleep(interval)
            snapshot = folder.read()
            live.update(render(folder, snapshot), refresh=True)
    return 0 if snapshot.state == "finished" else 1


def _print_lines(folder: WatchedFolder, snapshot: Snapshot, interval: float) -> int:
    """Where the output is no terminal, print what has happened, and what happens, line by line."""
    from pbt_disent.cli.watch_table import headline

    print(headline(folder, snapshot), flush=True)
    printed: set[str] = set()
    while True:
        for line in _lines(snapshot):
            if line not in printed:
                printed.add(line)
                print(line, flush=True)
        if snapshot.state not in {"starting", "running"}:
            print(headline(folder, snapshot), flush=True)
            return 0 if snapshot.state == "finished" else 1
        time.sleep(interval)
        snapshot = folder.read()


def _lines(snapshot: Snapshot) -> list[str]:
    from pbt_disent.cli.live import summarize

    lines = []
    for path, manifests in snapshot.rounds.items():
        lines.append(f"round {path}: {snapshot.num_images[path]:,} images")
        lines += [summarize(manifest, snapshot.fitness[path]).line() for manifest in manifests]
        if path in snapshot.ended:
            lines.append(f"round {path} ended: {snapshot.ended[path].replace('_', ' ')}")
    return lines
