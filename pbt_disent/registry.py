"""One registry for everything that has a name: objectives, metrics, readers, renderers, fitness functions.

A registry belongs to a package; its entries are the modules of that package. Adding an entry is adding a file
that calls the decorator: the package is imported, module by module, at the first look-up.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from pbt_disent.errors import UserError, nearest

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Named entries of one kind, filled from the modules of a package.

    Args:
        kind: what an entry is called in messages (``objective``).
        package: dotted name of the package whose modules register the entries.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._filled = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters an object under `name`; a name taken twice is a programming error."""

        def enter(entry: T) -> T:
            if name in self._entries:
                raise KeyError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        """Return the entry called `name`.

        Raises:
            UserError: no entry has that name; the message gives the nearest and all known ones.
        """
        self._fill()
        if name not in self._entries:
            raise UserError(f"{self.kind} {name!r}", f"is no known {self.kind}", nearest(name, self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._fill()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in alphabetical order."""
        self._fill()
        return iter(sorted(self._entries))

    def _fill(self) -> None:
        if not self._filled:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            self._filled = True
