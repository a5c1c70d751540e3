"""One hyperparameter: what is drawn, moved, clipped and validated by the same declaration."""

from __future__ import annotations

import math
from typing import Any

from pydantic import model_validator

from pbt_disent.config.sections import Section

__all__ = ["Mutable"]


class Mutable(Section):
    """One hyperparameter: its default, its bounds, and the scale on which it is drawn and mutated.

    The same declaration makes the first draw, the mutation, the validation and the help text. With `choices` it has
    one of these values alone, ascending, whose places are what is drawn and mutated.
    """

    default: float
    low: float
    high: float
    log: bool = False
    integer: bool = False
    choices: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Mutable:
        if not self.low <= self.default <= self.high:
            raise ValueError(f"must satisfy low <= default <= high, not {self.low} <= {self.default} <= {self.high}")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic scale needs low > 0")
        if self.choices and (sorted(set(self.choices)) != list(self.choices) or self.default not in self.choices):
            raise ValueError("needs choices that ascend, the default among them")
        return self

    def clip(self, value: float) -> float:
        """Return the nearest allowed value: within the bounds, whole where it must be, one of the choices."""
        if self.choices:
            return min(self.choices, key=lambda choice: abs(choice - value))
        clipped = min(max(value, self.low), self.high)
        return float(round(clipped)) if self.integer else clipped

    def at(self, fraction: float) -> float:
        """Return the value at a fraction (0 to 1) of the way from low to high, on this scale."""
        if self.choices:
            return self.choices[min(int(fraction * len(self.choices)), len(self.choices) - 1)]
        if self.log:
            return self.clip(math.exp(math.log(self.low) + fraction * (math.log(self.high) - math.log(self.low))))
        return self.clip(self.low + fraction * (self.high - self.low))

    def place(self, value: float) -> float:
        """Return the fraction (0 to 1) of the way from low to high at which a value is: the inverse of `at`."""
        if self.choices:
            return (self.choices.index(self.clip(value)) + 0.5) / len(self.choices)
        if self.high == self.low:
            return 0.5
        low, high, here = (math.log(one) if self.log else one for one in (self.low, self.high, self.clip(value)))
        return (here - low) / (high - low)

    def declaration(self) -> dict[str, Any]:
        """Return what is declared as plain values, for the identity of what was searched with it."""
        return self.model_dump(mode="json", exclude=None if self.choices else {"choices"})
