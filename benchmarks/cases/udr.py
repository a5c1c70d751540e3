"""UDR of a population, all pairs, by both published kinds of relation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Measure, Setting
from benchmarks.peers.ranking import rank_models, rank_models_by_ranks
from benchmarks.representation import models_of_one_set
from benchmarks.timing import timed
from pbt_disent.types import FloatArray

__all__ = ["prepare"]

TOLERANCE = 1e-6
REPLICAS = 5
"""Of a member in a population of the published size."""

Loop = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]


def prepare(correlation: str, loop: Loop, peer: str, setting: Setting) -> Contest:
    """56 models, 1,000 points, 10 latents: 3,080 ordered pairs, the lasso stopped where scikit-learn stops it."""
    from pbt_disent.metrics import udr

    codes, information = models_of_one_set(setting.pick(56, 56, 4), setting.pick(1000, 1000, 100))

    def agree() -> str:
        some = slice(None, None, setting.pick(1, 4, 1))
        ours = udr(codes[some], information[some], correlation)
        scores, strengths = loop(codes[some], information[some])
        apart = float(np.abs(ours.model_scores - scores).max())
        weights = float(np.abs(ours.correlations - strengths).max())
        if max(apart, weights) > TOLERANCE:
            raise Disagreement(f"UDR: scores differ by {apart:.1e} and coefficients by {weights:.1e}")
        return f"scores within {apart:.0e}, coefficients within {weights:.0e}"

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        few = slice(min(REPLICAS, len(codes)))
        member = min(timed("", lambda: udr(codes[few], information[few], correlation)).costs()[0] for _ in range(3))
        found = [Measure(f"for {REPLICAS} models, which are one member", 1000 * member, "ms")]
        if correlation == "lasso":
            optimum = timed("", lambda: udr(codes, information, budget="fast")).costs()[0]
            found.append(Measure("to the optimum itself (budget fast)", optimum, "s"))
        return found

    return Contest(
        timed("all pairs at once", lambda: udr(codes, information, correlation)),
        [timed(peer, lambda: loop(codes, information))],
        agree,
        repeats=1,
        measures=measures,
    )


CASES.register("udr")(
    Case(
        "UDR of 56 models, all pairs, 1,000 points: against a lasso per pair",
        partial(prepare, "lasso", rank_models, "scikit-learn Lasso per pair"),
        Goal(8),
    )
)
CASES.register("udr-spearman")(
    Case(
        "UDR by rank correlation, 56 models, all pairs: against scipy's spearmanr per pair",
        partial(prepare, "spearman", rank_models_by_ranks, "scipy spearmanr per pair"),
    )
)
