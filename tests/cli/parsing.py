"""Parse a command line without executing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from pbt_disent.cli.app import app


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Return what a verb would be called with."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    parameters: dict[str, Any] = command.make_context(command.name, rest).params
    return parameters
