"""Mean mutual information between the latents themselves, in nats: 0 if they are independent in pairs.

As disentanglement_lib's `mutual_info_score`: both latents in 20 equal-width bins, mean over all ordered pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._arrays import as_codes
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics.mutual_information import binned_information, discretise
from pbt_disent.types import FloatArray

__all__ = ["MutualInfoScore", "mutual_info_score"]


@dataclass(frozen=True, eq=False, kw_only=True)
class MutualInfoScore(Result):
    """Mean pairwise mutual information.

    Args:
        score: mean over the pairs in nats, 0 for a single latent.
        mutual_information: (Z, Z) in nats, 0 on the diagonal.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    mutual_information: FloatArray


def mutual_info_score(codes: ArrayLike, *, bins: int = 20, budget: str = "protocol") -> MutualInfoScore:
    """Return the mean mutual information between different latents of codes (N, Z).

    Args:
        codes: (N, Z).
        bins: equal-width bins per latent.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input.
    """
    checked = as_codes(codes)
    binned = discretise(checked, bins)
    information = binned_information(binned, binned)
    np.fill_diagonal(information, 0.0)
    pairs = max(len(information) * (len(information) - 1), 1)
    return MutualInfoScore(
        score=float(information.sum() / pairs),
        record=Record(budget, {"points": len(checked)}, {"bins": bins}),
        mutual_information=information,
    )


def _run(data: Inputs, budget: str, seed: int) -> MutualInfoScore:
    return mutual_info_score(data.codes, budget=budget)


METRICS.register("mutual_info_score")(Metric(MutualInfoScore, _run, "unlabelled"))
