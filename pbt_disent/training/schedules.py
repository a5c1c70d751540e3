"""How the learning rates of a member change over the steps of its life."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from pbt_disent.registry import Component, Registry

__all__ = ["SCHEDULES", "Constant", "Cosine", "Schedule"]

SCHEDULES: Registry[type[Schedule]] = Registry("schedule", "pbt_disent.training.schedules")


class Schedule(Component):
    """Base of all schedules: what the learning rates of an objective are multiplied by at each step."""

    is_constant: ClassVar[bool] = False
    """Whether the factor is 1 at every step, so that nothing has to be set."""

    def factor(self, step: int) -> float:
        """Return what the learning rates are multiplied by.

        Args:
            step: The number of steps that the member has taken before, in its life.
        """
        raise NotImplementedError


@SCHEDULES.register("constant")
class Constant(Schedule):
    """Learning rates stay as they are.

    >>> Constant().factor(1000)
    1.0
    """

    is_constant: ClassVar[bool] = True

    def factor(self, step: int) -> float:
        """Return 1."""
        return 1.0


@SCHEDULES.register("cosine")
class Cosine(Schedule):
    """Learning rates rise linearly, then fall along half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983).

    >>> schedule = Cosine(steps=100, warmup_steps=10, final=0.1)
    >>> [round(schedule.factor(step), 2) for step in (0, 9, 10, 55, 100, 1000)]
    [0.1, 1.0, 1.0, 0.55, 0.1, 0.1]
    """

    steps: int = Field(10_000, ge=1, description="The number of steps until the factor has fallen to `final`.")
    warmup_steps: int = Field(0, ge=0, description="The number of steps over which the factor rises to 1.")
    final: float = Field(0.0, ge=0, le=1, description="The factor from then on.")

    def factor(self, step: int) -> float:
        """See `Schedule.factor`."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))
