"""Arguments and phrases that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path

from pbt_disent.config import Config, load_config, override
from pbt_disent.errors import UserError

__all__ = [
    "add_changes",
    "add_cluster",
    "add_config_arguments",
    "add_runs",
    "config_of",
    "duration",
    "place",
    "resource_overrides",
]


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add --runs, the folder of all runs."""
    parser.add_argument(
        "--runs", type=place, default=Path("runs"), metavar="FOLDER", help="folder or URI of all runs (%(default)s)"
    )


def place(text: str) -> Path | str:
    """Return a path, or a URI as it is: a path would lose one of its slashes."""
    return text if "://" in text else Path(text)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config, --data and --set."""
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG", help="preset or YAML file (default: demo, or auto where --data is given)"
    )
    parser.add_argument("--data", metavar="DATA", help="a rendered world by name, or a data file or folder")
    add_changes(parser, "set one value, such as seed=1")


def add_changes(parser: argparse.ArgumentParser, use: str) -> None:
    """Add --set, and what caps the share of the machine."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=use)
    parser.add_argument("--cpus", metavar="N", help="use at most so many CPUs")
    parser.add_argument("--gpus", metavar="N", help="use so many GPUs (default: all that are visible)")
    parser.add_argument("--memory", metavar="GIB", help="use at most so much memory")


def add_cluster(
    parser: argparse.ArgumentParser, address: str = "join the Ray that runs there (auto: on this node)"
) -> None:
    """Add --address and --allow-unauthenticated, of a Ray that runs already."""
    parser.add_argument("--address", metavar="HOST:PORT", help=address)
    parser.add_argument(
        "--allow-unauthenticated", action="store_true", help="join it even if anyone who reaches it may use it"
    )


def config_of(options: argparse.Namespace) -> tuple[str, Config]:
    """Return the name of the config that the arguments ask for, and the config."""
    overrides = [*resource_overrides(options), *options.overrides]
    if options.config == "auto" and options.data is None:
        raise UserError("preset auto", "needs images", "name them with --data")
    if options.data is not None and options.config in {None, "auto"}:
        from pbt_disent.automatic import automatic_config
        from pbt_disent.cli.progress import bar

        with bar("images") as progress:
            return "auto", automatic_config(options.data, overrides, progress)
    named = [] if options.data is None else [override("data.name", options.data)]
    source = options.config or "demo"
    return Path(source).stem, load_config(source, [*named, *overrides])


def resource_overrides(options: argparse.Namespace) -> list[str]:
    """Return the resource arguments as overrides of the config."""
    given = {
        "resources.cpus": options.cpus,
        "resources.gpus": options.gpus,
        "resources.memory_gib": options.memory,
        "resources.address": getattr(options, "address", None),
        "resources.allow_unauthenticated": getattr(options, "allow_unauthenticated", None) or None,
    }
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def duration(seconds: float) -> str:
    """Say how long something takes: ``45 s``, ``7 min``, ``3.2 h``, ``2.5 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
