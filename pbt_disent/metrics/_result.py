"""What every metric returns: a frozen result with a score, its direction, its bounds, and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Literal

import pbt_disent
from pbt_disent.errors import UserError, nearest

__all__ = ["BUDGETS", "Budget", "Record", "Result", "check_budget"]

Budget = Literal["protocol", "fast"]
BUDGETS: tuple[str, ...] = ("protocol", "fast")


def check_budget(budget: str) -> None:
    """Refuse an unknown budget.

    Raises:
        UserError: `budget` is neither ``protocol`` nor ``fast``.
    """
    if budget not in BUDGETS:
        raise UserError(f"budget {budget!r}", "is no known budget", nearest(budget, BUDGETS))


@dataclass(frozen=True)
class Record:
    """How a score was measured: without this, two numbers do not compare.

    Args:
        budget: ``protocol`` (the published numbers) or ``fast``.
        samples: how many points, votes or models were used, by name.
        parameters: every setting that changes the number, by name.
        seed: of the random draws, None where nothing is drawn.
        version: of this package.
    """

    budget: str
    samples: Mapping[str, int]
    parameters: Mapping[str, float | int | str | bool | None] = field(default_factory=lambda: MappingProxyType({}))
    seed: int | None = None
    version: str = pbt_disent.__version__

    def __post_init__(self) -> None:
        """Refuse a budget that does not exist.

        Raises:
            UserError: `budget` is neither ``protocol`` nor ``fast``.
        """
        check_budget(self.budget)


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """A score and how it was measured; each metric adds its own parts.

    Args:
        score: the number reported under the metric's name.
        record: budget, sample sizes, parameters, seed and version.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    score: float
    record: Record
