"""What the commands of the benchmark and of the studies share: exit codes, and tables that they write into pages.

Such a table stands in a Markdown file between two comments, ``<!-- NAME -->`` and ``<!-- /NAME -->``, and is replaced
whole.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.files import REMEDIES

__all__ = ["check_section", "exit_code_of", "replace_section"]

INTERRUPTED = 130


def exit_code_of(program: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit code; an error that was raised on purpose is printed as one line.

    Args:
        program: The name of the program, which the line begins with.
        command: A function that returns 0, or 1 if something failed.

    Returns:
        What the command returned, 1 or 2 (bad input) after an error, 130 after an interruption.
    """
    try:
        return command()
    except PbtDisentError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{program}: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"{program}: {place}{error.strerror}; {REMEDIES[error.errno]}", file=sys.stderr)
        return 1


def check_section(path: Path, option: str, name: str) -> None:
    """Check that a page has a section, before any work is done for it.

    Args:
        path: The path of the page.
        option: The option that named the page.
        name: The name of the section.

    Raises:
        UserError: The page has no such section, or cannot be read.
    """
    _split_at_section(path, option, name)


def replace_section(path: Path, option: str, name: str, text: str) -> None:
    """Replace the text of a section.

    Args:
        path: The path of the page.
        option: The option that named the page.
        name: The name of the section.
        text: The new text; it ends with a newline.

    Raises:
        UserError: The page has no such section, or cannot be read.
    """
    before, after = _split_at_section(path, option, name)
    path.write_text(f"{before}\n{text}{after}", encoding="utf-8")


def _split_at_section(path: Path, option: str, name: str) -> tuple[str, str]:
    """Return what stands before the text of a section and what stands after it, the comments included."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{option} {path}", "must be a text file that can be read", "check the path") from None
    if begin not in page or end not in page.split(begin, 1)[1]:
        raise UserError(f"{option} {path}", f"must have the marks {begin} and {end}", "add them where it belongs")
    before, rest = page.split(begin, 1)
    return before + begin, end + rest.split(end, 1)[1]
