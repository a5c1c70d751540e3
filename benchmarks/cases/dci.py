"""The fast budget of DCI beside the published one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Measure, Setting
from benchmarks.representation import labelled_codes
from benchmarks.timing import timed
from pbt_disent.metrics import DCI

__all__ = ["prepare"]

TOLERANCE = 0.03


def prepare(setting: Setting) -> Contest:
    """2,000 training and 1,000 test points, factors of dSprites' sizes: 3, 6, 40, 32, 32."""
    from pbt_disent.metrics import dci

    train, test = setting.pick(2000, 2000, 80), setting.pick(1000, 1000, 40)
    codes, factors = labelled_codes(train + test)
    columns = setting.pick([0, 1, 2, 3, 4], [0, 2], [0, 1])
    few = setting.pick([0, 1], [0], [0, 1])
    last: dict[str, DCI] = {}

    def run(budget: str, used: list[int], seed: int = 0) -> DCI:
        chosen = factors[:, used]
        return dci(codes[:train], chosen[:train], codes[train:], chosen[train:], budget=budget, seed=seed)

    def keep(budget: str) -> Callable[[], None]:
        seeds = count(1)  # exact trees that were fitted with the same one before are remembered

        def work() -> None:
            last[budget] = run(budget, columns, next(seeds))

        return work

    def agree() -> str:
        apart = _apart(run("fast", few), run("protocol", few))
        if apart > TOLERANCE and setting.size != "tiny":
            raise Disagreement(f"DCI of {len(few)} factors: scores differ by {apart:.3f}")
        return f"over {len(few)} of the factors, disentanglement and completeness within {apart:.3f}"

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        apart = _apart(last["fast"], last["protocol"])
        accuracy = abs(last["fast"].informativeness - last["protocol"].informativeness)
        return [
            Measure("difference of disentanglement or completeness", apart, "", Goal(TOLERANCE, at_most=True)),
            Measure("difference of informativeness", accuracy, ""),
        ]

    return Contest(
        timed("histogram trees", keep("fast")),
        [timed("exact boosted trees of scikit-learn", keep("protocol"))],
        agree,
        repeats=1,
        measures=measures,
    )


def _apart(a: DCI, b: DCI) -> float:
    return max(abs(a.disentanglement - b.disentanglement), abs(a.completeness - b.completeness))


CASES.register("dci-fast")(
    Case("DCI over dSprites' factors, 2,000 points: against exact boosted trees", prepare, Goal(10))
)
