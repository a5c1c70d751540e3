"""Fixed settings of an objective: declared once, with the rule that a given value has to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pbt_disent.errors import UserError, nearest

__all__ = ["Setting", "Value"]

Value = bool | int | float | str | list[int] | None


@dataclass(frozen=True)
class Setting:
    """One setting that is the same for every member and never mutated.

    Args:
        default: value where none is given; its type is the type of the setting, a list being one of whole numbers.
            None means "chosen from the data", and then the setting is a whole number.
        help: one line on what it does.
        choices: the allowed names, for a text setting.
        low: smallest allowed number.
        high: largest allowed number.
    """

    default: Value
    help: str
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    def check(self, name: str, value: Any) -> Value:
        """Return a given value in the setting's own type.

        Args:
            name: the setting's full name, for messages.
            value: what the user gave.

        Raises:
            UserError: the value has the wrong type, is no known choice, or is out of bounds.
        """
        if value is None and self.default is None:
            return None
        given = f"{name}={value!r}"
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise UserError(given, "must be true or false", f"the default is {str(self.default).lower()}")
            return value
        if isinstance(self.default, str):
            if not isinstance(value, str) or (self.choices and value not in self.choices):
                raise UserError(given, "is no known choice", nearest(str(value), self.choices))
            return value
        if isinstance(self.default, list):
            if not isinstance(value, list | tuple):
                raise UserError(given, "must be a list of whole numbers", "for example [3, 6]")
            return [int(self._number(given, entry)) for entry in value]
        return self._number(given, value)

    def _number(self, given: str, value: Any) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(given, "must be a number", f"the default is {self.default}")
        if not isinstance(self.default, float):
            if value != int(value):
                raise UserError(given, "must be a whole number", f"the default is {self.default}")
            value = int(value)
        if not self.low <= value <= self.high:
            raise UserError(given, f"must be in {self.low:g} to {self.high:g}", f"the default is {self.default}")
        return float(value) if isinstance(self.default, float) else value
