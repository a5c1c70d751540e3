"""The verbs that show the results of a run again: `report`, `figures`, and `ui` and `sync` for MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import RunReference, Runs

__all__ = ["figures", "report", "sync", "ui"]


@verb("report runs/demo-1", "report s3://bucket/runs/my-1")
def report(run: RunReference, runs: Runs = "runs") -> None:
    """Write the report of a run again, one self-contained page."""
    from pbt_disent.report.page import write_report
    from pbt_disent.store.runs import find_run

    print(write_report(find_run(run, runs).path))


@verb("figures runs/demo-1", "figures demo-1 --out figures/")
def figures(
    run: RunReference,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="The folder for the figures; by default figures in the run."),
    ] = None,
    runs: Runs = "runs",
) -> None:
    """Write the figures of a run as PNG, SVG and GIF."""
    from pbt_disent.report.export import write_figures
    from pbt_disent.store.runs import find_run

    folder = find_run(run, runs).path
    target = out or folder / "figures"
    write_figures(folder, target)
    print(target)


@verb("ui", "ui runs/demo-1 --port 5001")
def ui(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="The path or name of a run; by default the newest one.")
    ] = None,
    port: Annotated[int, typer.Option("--port", help="The port to serve at.")] = 5000,
    runs: Runs = "runs",
) -> int:
    """Open the MLflow UI on the store of a run.

    It is served on the loopback interface until it is interrupted.
    """
    from pbt_disent.store.runs import find_run, newest_run
    from pbt_disent.tracking.ui import serve

    folder = find_run(run, runs) if run else newest_run(runs)
    return serve(folder.path, port=port)


@verb("sync runs/demo-1")
def sync(run: RunReference, runs: Runs = "runs") -> None:
    """Send to MLflow what it lacks of a run, after an outage."""
    from pbt_disent.report.export import population_picture
    from pbt_disent.store.runs import find_run
    from pbt_disent.tracking.uploader import sync as send

    destination = send(find_run(run, runs).path, draw_population=population_picture)
    print(f"{destination.description}: complete")
