"""MIG of the published number of points."""

from __future__ import annotations

from pbt_disent.bench.case import CASES, Case, Contest, Disagreement, Goal, Setting
from pbt_disent.bench.peers.information import gap_by_pairs
from pbt_disent.bench.representation import labelled_codes
from pbt_disent.bench.timing import timed

__all__ = ["prepare"]

TOLERANCE = 1e-9


def prepare(setting: Setting) -> Contest:
    """10,000 points, 10 latents, five factors of dSprites' sizes, 20 equal-width bins."""
    from pbt_disent.metrics import mig

    codes, factors = labelled_codes(setting.pick(10_000, 10_000, 500))

    def agree() -> str:
        apart = abs(mig(codes, factors).score - gap_by_pairs(codes, factors))
        if apart > TOLERANCE:
            raise Disagreement(f"MIG: scores differ by {apart:.1e}")
        return f"scores within {apart:.0e}"

    return Contest(
        timed("joint histograms", lambda: mig(codes, factors), times=setting.pick(10, 5, 1)),
        [timed("mutual_info_score per pair", lambda: gap_by_pairs(codes, factors))],
        agree,
        repeats=setting.pick(15, 7, 1),
    )


CASES.register("mig")(Case("MIG of 10,000 points: against scikit-learn for each pair", prepare, Goal(10)))
