"""The verbs `data info`, `data verify` and `data render`: look at images, check them, or render a built-in world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pbt_disent.cli.app import app, group, verb
from pbt_disent.cli.arguments import AsJson, DataOptions, parse_options
from pbt_disent.errors import UserError

__all__ = ["data", "info", "render", "verify"]

data = group("data", "Look at images, check them, or render a built-in world.")
app.add_typer(data)

Source = Annotated[str, typer.Argument(metavar="DATA", help="A rendered world by name, or a data file or folder.")]


@verb("data info rooms", "data info my-pictures/ --set size=32", "data info images.npz --json", within=data)
def info(source: Source, options: DataOptions = None, as_json: AsJson = False) -> None:
    """Say what a file, a folder or a rendered world is."""
    from pbt_disent.cli.progress import bar
    from pbt_disent.data.inspection import info as describe

    with bar("images") as progress:
        description = describe(source, progress, **parse_options(options))
    if as_json:
        print(json.dumps(description, indent=1))
        return
    for key, value in description.items():
        if value not in (None, [], (), {}):
            print(f"{key.replace('_', ' '):14} {_in_words(value)}")


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@verb("data verify 3dshapes.h5", "data verify my-pictures/ --set size=64", within=data)
def verify(source: Source, options: DataOptions = None, as_json: AsJson = False) -> int:
    """Check ranges, shapes, factors and published checksums.

    The exit code is 1 where there is an error.
    """
    from pbt_disent.cli.progress import bar
    from pbt_disent.data.inspection import verify as check

    with bar("checking") as progress:
        findings = check(source, progress, **parse_options(options))
    if as_json:
        print(json.dumps([{"level": finding.level, "text": finding.text} for finding in findings], indent=1))
    else:
        for finding in findings:
            print(f"{finding.level}: {finding.text}")
    return 1 if any(finding.level == "error" for finding in findings) else 0


@verb("data render rooms", "data render sprites --set size=32 --out sprites-32 --processes 4", within=data)
def render(
    source: Source,
    options: DataOptions = None,
    as_json: AsJson = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="The folder of the store; by default the name of the world."),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", metavar="N", help="The number of processes; by default one per CPU."),
    ] = None,
) -> None:
    """Render a world into a memory-mapped store."""
    from pbt_disent.cli.progress import bar
    from pbt_disent.data import WORLDS, load, materialise
    from pbt_disent.machine import usable_cpus

    WORLDS[source]
    world = load(source, **parse_options(options))
    workers = usable_cpus() if processes is None else processes
    if workers < 1:
        raise UserError(f"--processes {workers}", "must be at least 1", "leave it out")
    with bar("rendering") as progress:
        stored = materialise(world, out or Path(source), progress, workers)
    description = {"folder": str(stored.folder), "images": len(stored), "shape": list(stored.shape)}
    print(json.dumps(description) if as_json else f"{len(stored):,} images in {stored.folder}")
