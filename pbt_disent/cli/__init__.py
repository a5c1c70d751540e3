"""The command line: one file per verb. Importing this imports neither torch nor ray nor mlflow."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from pbt_disent import __version__
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.files import REMEDIES

__all__ = ["VERBS", "build_parser", "entry", "main"]

STOPPED = 130
MISPLACED = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
"""What a path gives that is a file where a folder belongs, or the other way round, or too long."""
VERBS = (
    "run", "plan", "resume", "submit", "status", "logs", "stop", "list", "watch", "report", "figures", "ui",
    "sync", "replay", "score", "encode", "label", "traverse", "export", "register", "data", "doctor",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every verb; each verb's module adds its own arguments."""
    parser = argparse.ArgumentParser(
        prog="pbt-disent",
        description="Dependable disentangled representations by population-based training.",
    )
    parser.add_argument("--version", action="version", version=f"pbt-disent {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in VERBS:
        module = importlib.import_module(f"pbt_disent.cli.{name}")
        summary = (module.__doc__ or "").splitlines()[0].rstrip(".")
        verb = verbs.add_parser(name, help=summary[0].lower() + summary[1:], description=module.__doc__)
        module.add_arguments(verb)
        verb.set_defaults(call=module.call)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 (failed), 2 (bad input) or 130 (stopped)."""
    options = build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return int(options.call(options))
    except PbtDisentError as error:
        print(f"pbt-disent: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("pbt-disent: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno in MISPLACED and error.filename:
            print(f"pbt-disent: {error.filename}: {error.strerror}; give another path", file=sys.stderr)
            return UserError.exit_code
        if error.errno not in REMEDIES:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"pbt-disent: {where}{error.strerror}; {REMEDIES[error.errno]}", file=sys.stderr)
        return 1


def entry() -> NoReturn:
    """Run the command line and exit.

    A run that was stopped has closed all it had open; it leaves without the seconds that the interpreter needs to take
    down torch, ray and mlflow.
    """
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == STOPPED:
        os._exit(code)
    sys.exit(code)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """Let SIGTERM end the process as Ctrl-C does."""
    raise KeyboardInterrupt
