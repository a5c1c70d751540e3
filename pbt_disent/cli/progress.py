"""A progress bar or a status line on the terminal; nothing where the output is no terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["bar", "working"]


@contextlib.contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar while the block runs.

    Args:
        title: What is being done.

    Yields:
        A function that takes how much is done, and how much there is to do in all.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextlib.contextmanager
def working(title: str) -> Iterator[Callable[[str], None]]:
    """Show a line with what is being done while the block runs.

    Args:
        title: What is done first.

    Yields:
        A function that takes what is done next.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda name: None
        return
    with console.status(title) as status:
        yield status.update
