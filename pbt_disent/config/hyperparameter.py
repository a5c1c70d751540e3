"""One hyperparameter: what is drawn, mutated, clipped and validated by the same declaration."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

from pbt_disent.errors import nearest
from pbt_disent.registry import OptionError

__all__ = ["Hyperparameter"]

KEYS = ("low", "high", "default", "choices")


class Hyperparameter(BaseModel):
    """One hyperparameter: its default, its bounds, and the scale on which it is drawn and mutated.

    An objective declares each of its hyperparameters with the widest bounds that make sense. A config narrows them
    (``lr: {low: 1e-4, high: 1e-3}``), lists the values to choose from (``{choices: [64, 128]}``), or gives one number,
    which fixes it.

    >>> lr = Hyperparameter(default=1e-3, low=1e-4, high=1e-2, log=True)
    >>> round(lr.from_unit(0.5), 6), lr.clip(1.0)
    (0.001, 0.01)

    Args:
        default: The value where nothing is searched.
        low: The smallest value.
        high: The largest value.
        log: Whether values are drawn and compared on a logarithmic scale.
        integer: Whether values are whole numbers.
        choices: The only values that are allowed, in ascending order; empty for all between the bounds.
        optional: Whether it may be fixed at 0, below its bounds, which takes its term out of the loss.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    default: float
    low: float
    high: float
    log: bool = False
    integer: bool = False
    choices: tuple[float, ...] = ()
    optional: bool = False

    @model_validator(mode="after")
    def _check_order(self) -> Hyperparameter:
        if not self.low <= self.default <= self.high:
            raise ValueError(f"must satisfy low <= default <= high, not {self.low} <= {self.default} <= {self.high}")
        if self.log and self.low <= 0 and not self.is_fixed:
            raise ValueError("a logarithmic scale needs low > 0")
        if self.choices and (sorted(set(self.choices)) != list(self.choices) or self.default not in self.choices):
            raise ValueError("needs choices that ascend, the default among them")
        return self

    @model_serializer
    def _plain(self) -> Any:
        """Return what a config says: one number where it is fixed, else the bounds or choices and the default."""
        if self.is_fixed:
            return self._shown(self.default)
        if self.choices:
            return {"choices": [self._shown(choice) for choice in self.choices], "default": self._shown(self.default)}
        return {name: self._shown(getattr(self, name)) for name in ("low", "high", "default")}

    def _shown(self, value: float) -> float:
        return int(value) if self.integer else value

    @property
    def is_fixed(self) -> bool:
        """Whether it has one value only, so that nothing is searched."""
        return self.low == self.high

    def fixed_at(self, value: float) -> Hyperparameter:
        """Return the hyperparameter with one value only."""
        return self.model_copy(update={"default": value, "low": value, "high": value, "choices": ()})

    def clip(self, value: float) -> float:
        """Return the nearest allowed value: within the bounds, whole where it must be, one of the choices."""
        if self.choices:
            return min(self.choices, key=lambda choice: abs(choice - value))
        clipped = min(max(value, self.low), self.high)
        return float(round(clipped)) if self.integer else clipped

    def from_unit(self, fraction: float) -> float:
        """Return the value at a fraction (0 to 1) of the way from low to high, on this scale."""
        if self.choices:
            return self.choices[min(int(fraction * len(self.choices)), len(self.choices) - 1)]
        if self.log and not self.is_fixed:
            return self.clip(math.exp(math.log(self.low) + fraction * (math.log(self.high) - math.log(self.low))))
        return self.clip(self.low + fraction * (self.high - self.low))

    def to_unit(self, value: float) -> float:
        """Return the fraction (0 to 1) of the way from low to high at which a value is, the inverse of `from_unit`."""
        if self.choices:
            return (self.choices.index(self.clip(value)) + 0.5) / len(self.choices)
        if self.is_fixed:
            return 0.5
        low, high, clipped = (math.log(x) if self.log else x for x in (self.low, self.high, self.clip(value)))
        return (clipped - low) / (high - low)

    def narrow(self, value: Any) -> Hyperparameter:
        """Return what a config makes of the declaration.

        Args:
            value: A number, which fixes it; a mapping with some of low, high and default; or one with choices.

        Raises:
            OptionError: The value is of another form, or beyond the declared bounds.
        """
        if isinstance(value, Hyperparameter):
            return value
        if not isinstance(value, dict):
            if self.optional and value == 0 and not isinstance(value, bool):
                return self.fixed_at(0.0)
            return self.fixed_at(self._number(value))
        for key in value:
            if key not in KEYS:
                raise OptionError((str(key),), "is unknown", nearest(key, KEYS))
        if "choices" in value:
            return self._choose(value)
        low = self._number(value.get("low", self.low), "low")
        high = self._number(value.get("high", self.high), "high")
        if low > high:
            raise OptionError((), "low must not exceed high", "exchange the two", value)
        default = self._number(value.get("default", min(max(self.default, low), high)), "default")
        if not low <= default <= high:
            raise OptionError(("default",), f"must be in {low:g} to {high:g}", "leave it out", default)
        return self.model_copy(update={"default": default, "low": low, "high": high, "choices": ()})

    def _choose(self, value: dict[str, Any]) -> Hyperparameter:
        choices = value["choices"]
        if {"low", "high"} & value.keys() or not isinstance(choices, list | tuple) or not choices:
            raise OptionError((), "must have choices alone, a list of numbers", self._example(), value)
        numbers = tuple(sorted({self._number(choice, "choices") for choice in choices}))
        default = value.get("default", min(numbers, key=lambda number: abs(number - self.default)))
        if default not in numbers:
            raise OptionError(("default",), f"must be one of {list(numbers)}", "leave it out", default)
        return self.model_copy(
            update={"default": float(default), "low": numbers[0], "high": numbers[-1], "choices": numbers}
        )

    def _number(self, value: Any, *location: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise OptionError(location, "must be a number or a mapping with low and high", self._example(), value)
        if not self.low <= value <= self.high:
            raise OptionError(location, f"must be in {self.low:g} to {self.high:g}", self._example(), value)
        if self.integer and value != int(value):
            raise OptionError(location, "must be a whole number", self._example(), value)
        return float(value)

    def _example(self) -> str:
        return f"for example {self.default:g}, or {{low: {self.low:g}, high: {self.high:g}}}"
