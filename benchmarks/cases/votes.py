"""The two scores that are made of votes, at the published numbers of votes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Measure, Setting
from benchmarks.peers.votes import beta_vae_by_votes, factor_vae_by_votes
from benchmarks.representation import labelled_codes
from benchmarks.timing import timed

__all__ = ["prepare"]

Loop = Callable[..., float]

GOAL = Goal(10)
OURS = "all votes at once"
PLAIN = "a plain loop, searching the set"


def prepare(name: str, loop: Loop, setting: Setting) -> Contest:
    """10,000 training and 5,000 evaluation votes of 64 points each, from 10,000 labelled points.

    The plain loop searches the set for the points of a value in every batch; the best one looks them up once. The goal
    is meant of a loop over votes as it is written first, so that the plain one has a line of its own. All sides draw
    votes of their own, so scores agree within 0.03 or three standard errors.
    """
    from pbt_disent import metrics

    codes, factors = labelled_codes(setting.pick(10_000, 10_000, 500))
    train, evaluate = setting.pick((10_000, 5_000), (10_000, 5_000), (300, 300))

    def ours() -> float:
        return float(getattr(metrics, name)(codes, factors, num_train=train, num_eval=evaluate).score)

    def theirs() -> float:
        return loop(codes, factors, train, evaluate)

    def agree() -> str:
        a, b = ours(), theirs()
        error = math.sqrt((a * (1 - a) + b * (1 - b)) / evaluate)
        if abs(a - b) > max(0.03, 3 * error):
            raise Disagreement(f"{name}: scores {a:.3f} and {b:.3f}")
        return f"scores {a:.3f} and {b:.3f}"

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        return [Measure("against the plain loop", medians[PLAIN] / medians[OURS], "times", GOAL)]

    searching = partial(loop, search=True)
    plain = timed(PLAIN, lambda: searching(codes, factors, train, evaluate))
    peers = [timed("a loop over votes", theirs), plain]
    return Contest(timed(OURS, ours), peers, agree, setting.pick(2, 1, 1), measures=measures)


CASES.register("factor-vae")(
    Case(
        "FactorVAE score, 15,000 votes: against a loop over votes",
        partial(prepare, "factor_vae", factor_vae_by_votes),
        GOAL,
    )
)
CASES.register("beta-vae")(
    Case(
        "beta-VAE score, 15,000 votes: against a loop over votes",
        partial(prepare, "beta_vae", beta_vae_by_votes),
        GOAL,
    )
)
