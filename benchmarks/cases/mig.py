"""MIG and modularity of the published number of points."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Setting
from benchmarks.peers.absent import ABSENT
from benchmarks.peers.information import gap_by_pairs, modularity_by_pairs
from benchmarks.representation import labelled_codes
from benchmarks.timing import timed
from pbt_disent.types import FloatArray, IntArray

__all__ = ["prepare"]

TOLERANCE = 1e-9


def prepare(name: str, by_pairs: Callable[[FloatArray, IntArray], float], setting: Setting) -> Contest:
    """10,000 points, 10 latents, five factors of dSprites' sizes, 20 equal-width bins."""
    from pbt_disent import metrics

    codes, factors = labelled_codes(setting.pick(10_000, 10_000, 500))

    def ours() -> float:
        return float(getattr(metrics, name)(codes, factors).score)

    def agree() -> str:
        apart = abs(ours() - by_pairs(codes, factors))
        if apart > TOLERANCE:
            raise Disagreement(f"{name}: scores differ by {apart:.1e}")
        return f"scores within {apart:.0e}"

    return Contest(
        timed("joint histograms", ours, times=setting.pick(10, 5, 1)),
        [timed("mutual_info_score per pair", lambda: by_pairs(codes, factors)), *ABSENT],
        agree,
        repeats=setting.pick(7, 5, 1),
    )


CASES.register("mig")(
    Case("MIG of 10,000 points: against scikit-learn for each pair", partial(prepare, "mig", gap_by_pairs), Goal(10))
)
CASES.register("modularity")(
    Case(
        "modularity of 10,000 points: against scikit-learn for each pair",
        partial(prepare, "modularity", modularity_by_pairs),
    )
)
