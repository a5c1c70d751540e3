"""Look at a set of images, check it, or render one of the built-in worlds to disk."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from pbt_disent.config import read_yaml
from pbt_disent.errors import UserError

__all__ = ["add_arguments", "call", "parse_options"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in (
        ("info", "say what a file, folder or rendered world is"),
        ("verify", "check ranges, shapes, factor counts and published checksums"),
        ("render", "render a world into a memory-mapped store"),
    ):
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument("source", metavar="DATA", help="a rendered world by name, or a data file or folder")
        action.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", dest="given", help="an option, such as size=32"
        )
        action.add_argument("--json", action="store_true", help="print JSON")
        if name == "render":
            action.add_argument("--out", type=Path, help="folder of the store (default: the world's name)")
            action.add_argument("--processes", type=int, default=None, help="default: one per CPU")


def call(options: argparse.Namespace) -> int:
    """Do what was asked; `verify` exits with 1 where it finds an error."""
    given = parse_options(options.given)
    return {"info": _info, "verify": _verify, "render": _render}[options.action](options, given)


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """Return ``key=value`` pairs as options, each value read as YAML."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        try:
            value = read_yaml(text)
        except yaml.YAMLError:
            separator = ""
        if not separator or not key.isidentifier():
            raise UserError(
                f"--set {pair}", "must have the form key=value, the value in YAML", "for example --set size=32"
            )
        found[key] = value
    return found


def _info(options: argparse.Namespace, given: dict[str, Any]) -> int:
    from pbt_disent.cli.progress import bar
    from pbt_disent.data.inspection import info

    with bar("images") as progress:
        found = info(options.source, progress, **given)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        for key, value in found.items():
            if value not in (None, [], (), {}):
                print(f"{key.replace('_', ' '):14} {_plain(value)}")
    return 0


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _verify(options: argparse.Namespace, given: dict[str, Any]) -> int:
    from pbt_disent.cli.progress import bar
    from pbt_disent.data.inspection import verify

    with bar("checking") as progress:
        findings = verify(options.source, progress, **given)
    if options.json:
        print(json.dumps([{"level": finding.level, "text": finding.text} for finding in findings], indent=1))
    else:
        for finding in findings:
            print(f"{finding.level}: {finding.text}")
    return 1 if any(finding.level == "error" for finding in findings) else 0


def _render(options: argparse.Namespace, given: dict[str, Any]) -> int:
    from pbt_disent.cli.progress import bar
    from pbt_disent.data import WORLDS, load, materialise
    from pbt_disent.machine import usable_cpus

    WORLDS[options.source]
    data = load(options.source, **given)
    processes = usable_cpus() if options.processes is None else options.processes
    if processes < 1:
        raise UserError(f"--processes {processes}", "must be at least 1", "leave it out")
    with bar("rendering") as progress:
        stored = materialise(data, options.out or Path(options.source), progress, processes)
    found = {"folder": str(stored.folder), "images": len(stored), "shape": list(stored.shape)}
    print(json.dumps(found) if options.json else f"{len(stored):,} images in {stored.folder}")
    return 0
