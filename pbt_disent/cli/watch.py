"""Watch a run in the terminal, here or on a cluster, until it ends."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pbt_disent.cli.common import add_runs
from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.cli.watch_folder import Snapshot, WatchedFolder
    from pbt_disent.store.run_folder import RunFolder

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="path or name of a run (default: the newest)")
    parser.add_argument("--once", action="store_true", help="show it as it is now, and end")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between looks (%(default)s)")
    parser.add_argument("--address", metavar="URL", help="dashboard of the cluster that the run was submitted to")
    parser.add_argument(
        "--allow-unauthenticated", action="store_true", help="use a cluster that anyone who reaches it may use"
    )
    add_runs(parser)


def call(options: argparse.Namespace) -> int:
    """Show the run until it ends; exit with 0 if it finished or was only looked at, 1 if it ended without a result."""
    if options.interval < 0.1:
        raise UserError(f"--interval {options.interval:g}", "must be at least 0.1", "leave it out")
    if options.address is None:
        from pbt_disent.cli.watch_folder import WatchedFolder

        return _watch_folder(WatchedFolder(_local(options)), options)
    if options.run is None:
        raise UserError("watch --address", "needs the name of a run", "see: pbt-disent list")
    return _watch_job(options)


def _local(options: argparse.Namespace) -> RunFolder:
    from pbt_disent.store.runs import find_run, newest_run

    if options.run is None:
        return newest_run(options.runs)
    try:
        return find_run(options.run, options.runs)
    except UserError as error:
        if "RAY_API_SERVER_ADDRESS" in os.environ:
            raise UserError(error.value, error.rule, "for a submitted one, add --address") from None
        raise


def _watch_job(options: argparse.Namespace) -> int:
    """Watch the folder of a submitted run where it can be seen from here; else follow what its job prints."""
    from pbt_disent.cli.remote import connect
    from pbt_disent.cli.watch_folder import WatchedFolder
    from pbt_disent.store.runs import find_run
    from pbt_disent.tune.jobs import ENDED

    jobs = connect(options)
    job = jobs.find(options.run)
    shared = Path(job.runs) / job.run

    def seen_from_here() -> WatchedFolder | None:
        if not Path(job.runs).is_absolute() or not (shared / "run.json").exists():
            return None
        resume = f"pbt-disent resume {job.run} --address {jobs.address}"
        return WatchedFolder(find_run(shared), lambda: jobs.find(job.run).status not in ENDED, resume)

    if folder := seen_from_here():
        return _watch_folder(folder, options)
    if options.once:
        from pbt_disent.cli.status import progress_of

        found = progress_of(jobs.log(job))
        where = "" if found["generation"] is None else f", round {found['round']}, generation {found['generation']}"
        print(f"{job.run}: {job.status.lower()}{where}")
        return 0
    for piece in jobs.follow(job):
        print(piece, end="", flush=True)
        if folder := seen_from_here():  # it was not there yet
            return _watch_folder(folder, options)
    job = jobs.find(options.run)
    print(f"{job.run}: {job.status.lower()}")
    return 0 if job.status == "SUCCEEDED" else 1


def _watch_folder(folder: WatchedFolder, options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live

    from pbt_disent.cli.watch_table import draw

    console = Console()
    seen = folder.look()
    if options.once:
        console.print(draw(folder, seen))
        return 0
    if not console.is_terminal:
        return _print_lines(folder, seen, options.interval)
    with Live(draw(folder, seen), console=console, auto_refresh=False, screen=False) as live:
        while seen.state in {"starting", "running"}:
            time.sleep(options.interval)
            seen = folder.look()
            live.update(draw(folder, seen), refresh=True)
    return 0 if seen.state == "finished" else 1


def _print_lines(folder: WatchedFolder, seen: Snapshot, interval: float) -> int:
    """Where the output is no terminal, print what has happened, and what happens, line by line."""
    from pbt_disent.cli.watch_table import headline

    print(headline(folder, seen), flush=True)
    printed: set[str] = set()
    while True:
        for line in _lines(seen, folder.config.udr.against):
            if line not in printed:
                printed.add(line)
                print(line, flush=True)
        if seen.state not in {"starting", "running"}:
            print(headline(folder, seen), flush=True)
            return 0 if seen.state == "finished" else 1
        time.sleep(interval)
        seen = folder.look()


def _lines(seen: Snapshot, against: str) -> list[str]:
    from pbt_disent.cli.live import describe

    lines = []
    for path, manifests in seen.rounds.items():
        lines.append(f"round {path}: {seen.images[path]:,} images")
        for manifest in manifests:
            _, generation, best, median, replaced = describe(manifest, seen.fitness[path], against)
            lines.append(f"  {path} generation {generation}: best {best}, median {median}, replaced {replaced}")
        if path in seen.ended:
            lines.append(f"round {path} ended: {seen.ended[path].replace('_', ' ')}")
    return lines
