"""UDR of a population, all pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pbt_disent.bench.case import CASES, Case, Contest, Disagreement, Goal, Measure, Setting
from pbt_disent.bench.peers.ranking import rank_models
from pbt_disent.bench.representation import models_of_one_set
from pbt_disent.bench.timing import timed

__all__ = ["prepare"]

TOLERANCE = 1e-6


def prepare(setting: Setting) -> Contest:
    """56 models, 1,000 points, 10 latents: 3,080 ordered pairs, the lasso stopped where scikit-learn stops it."""
    from pbt_disent.metrics import udr

    codes, information = models_of_one_set(setting.pick(56, 56, 4), setting.pick(1000, 1000, 100))

    def agree() -> str:
        some = slice(None, None, setting.pick(1, 4, 1))
        ours, (scores, strengths) = udr(codes[some], information[some]), rank_models(codes[some], information[some])
        apart = float(np.abs(ours.model_scores - scores).max())
        weights = float(np.abs(ours.correlations - strengths).max())
        if max(apart, weights) > TOLERANCE:
            raise Disagreement(f"UDR: scores differ by {apart:.1e} and coefficients by {weights:.1e}")
        return f"scores within {apart:.0e}, coefficients within {weights:.0e}"

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        optimum = timed("", lambda: udr(codes, information, budget="fast")).costs()[0]
        return [Measure("to the optimum itself (budget fast)", optimum, "s")]

    return Contest(
        timed("all pairs at once", lambda: udr(codes, information)),
        [timed("scikit-learn Lasso per pair", lambda: rank_models(codes, information))],
        agree,
        repeats=setting.pick(7, 2, 1),
        measures=measures,
    )


CASES.register("udr")(Case("UDR of 56 models, all pairs, 1,000 points: against a lasso per pair", prepare, Goal(8)))
