"""Draw some values afresh between their bounds and keep the others (Jaderberg et al. 2017, arXiv 1711.09846)."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pbt_disent.population.explore import EXPLORES, Explore, ExploreContext, Offspring
from pbt_disent.types import Hyperparameters

__all__ = ["Resample"]


@EXPLORES.register("resample")
class Resample(Explore):
    """Draw each searched value afresh with some probability, uniformly on its own scale."""

    resample_probability: float = Field(
        0.25, gt=0, le=1, description="The probability with which a value is drawn afresh."
    )

    def explore(self, offspring: Sequence[Offspring], context: ExploreContext) -> list[Hyperparameters]:
        """See `Explore.explore`."""
        return [self._resampled(child, context) for child in offspring]

    def _resampled(self, child: Offspring, context: ExploreContext) -> Hyperparameters:
        values = dict(child.values)
        for name in sorted(context.space):
            chance, fraction = child.generator.random(2)
            if chance < self.resample_probability:
                values[name] = context.space[name].from_unit(float(fraction))
        return values
