"""The errors that a user can cause, each as one line: the value, the rule it breaks, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["STOPPED", "PbtDisentError", "UserError", "nearest"]

STOPPED = 130
"""The exit code of a run that was asked to stop."""


class PbtDisentError(Exception):
    """Base of every error raised on purpose by this package; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UserError(PbtDisentError, ValueError):
    """Bad input. The command line prints the message alone and exits with 2.

    Args:
        value: The value, named so that the user recognises it (``--set population.size=0``).
        rule: The rule that it breaks (``must be at least 2``).
        remedy: The remedy (``give an even number such as 8``).

    >>> print(UserError("--set population.size=0", "must be at least 2", "give an even number such as 8"))
    --set population.size=0: must be at least 2; give an even number such as 8
    """

    exit_code = 2

    def __init__(self, value: str, rule: str, remedy: str) -> None:
        super().__init__(" ".join(f"{value}: {rule}; {remedy}".splitlines()))
        self.value, self.rule, self.remedy = value, rule, remedy

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        """Survive pickling between processes with all three parts."""
        return type(self), (self.value, self.rule, self.remedy)


def nearest(name: object, names: Iterable[str]) -> str:
    """Return a remedy that suggests the closest of several names and lists them all.

    >>> nearest("truncate", ["none", "truncation"])
    "did you mean 'truncation'? known: none, truncation"
    """
    ordered = sorted(names)
    close = difflib.get_close_matches(str(name), ordered, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(ordered) if ordered else 'none'}"
