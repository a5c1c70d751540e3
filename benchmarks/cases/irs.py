"""IRS of the published number of points."""

from __future__ import annotations

from benchmarks.case import CASES, Case, Contest, Disagreement, Setting
from benchmarks.peers.information import robustness_by_groups
from benchmarks.representation import labelled_codes
from benchmarks.timing import timed

__all__ = ["prepare"]

TOLERANCE = 1e-9


def prepare(setting: Setting) -> Contest:
    """10,000 points, 10 latents, five factors of dSprites' sizes, the 0.99 quantile."""
    from pbt_disent.metrics import irs

    codes, factors = labelled_codes(setting.pick(10_000, 10_000, 500))

    def agree() -> str:
        apart = abs(irs(codes, factors).score - robustness_by_groups(codes, factors))
        if apart > TOLERANCE:
            raise Disagreement(f"IRS: scores differ by {apart:.1e}")
        return f"scores within {apart:.0e}"

    return Contest(
        timed("all latents of a group at once", lambda: irs(codes, factors), times=setting.pick(5, 2, 1)),
        [timed("latent by latent", lambda: robustness_by_groups(codes, factors))],
        agree,
        repeats=setting.pick(7, 5, 1),
    )


CASES.register("irs")(Case("IRS of 10,000 points: against a loop over groups and latents", prepare))
