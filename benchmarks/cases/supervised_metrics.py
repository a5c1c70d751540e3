"""The metrics that need the true factors, at the published numbers of points: MIG, modularity, IRS, DCI, votes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count

import numpy as np

from benchmarks.baselines.metrics import (
    beta_vae_by_votes,
    factor_vae_by_votes,
    irs_by_groups,
    mig_by_pairs,
    modularity_by_pairs,
)
from benchmarks.case import (
    CASES,
    Case,
    Comparison,
    Disagreement,
    Goal,
    Measurement,
    Scaling,
    ScalingImplementation,
    Setup,
    Unavailable,
)
from benchmarks.timing import cost_by_size, timed
from pbt_disent.metrics import DCI
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["prepare_dci", "prepare_information", "prepare_irs", "prepare_points", "prepare_votes"]

SPRITES_SIZES = (3, 6, 40, 32, 32)
"""The numbers of values of the factors of dSprites."""
NOISE = 0.02

UNAVAILABLE = (
    Unavailable("disentanglement_lib 1.5", "needs TensorFlow 1.14, which cannot be installed for this Python"),
    Unavailable("disent", "0.9 needs Python 3.12; 0.8 scores a data set and its encoder, and takes no codes"),
)
"""Libraries that score representations and cannot take part, each with the reason that was found by trying."""

TOLERANCE = 1e-9
POINTS_TOLERANCE = 1e-6
DCI_TOLERANCE = 0.03
VOTES_TOLERANCE = 0.03
VOTES_GOAL = Goal(10)
OUR_VOTES, SEARCHING_LOOP = "all votes at once", "a plain loop, searching the set"


def prepare_information(name: str, by_pairs: Callable[[FloatArray, IntArray], float], setup: Setup) -> Comparison:
    """10,000 points, 10 latents, five factors of dSprites' sizes, 20 equal-width bins."""
    from pbt_disent import metrics

    codes, factors = _synthetic_codes(setup.pick(10_000, 10_000, 500))

    def ours() -> float:
        return float(getattr(metrics, name)(codes, factors).score)

    def check() -> str:
        return _check_scores(name, ours(), by_pairs(codes, factors), TOLERANCE)

    return Comparison(
        timed("joint histograms", ours, number=setup.pick(10, 5, 1)),
        [timed("mutual_info_score per pair", lambda: by_pairs(codes, factors)), *UNAVAILABLE],
        check,
        repeats=setup.pick(7, 5, 1),
    )


def prepare_points(setup: Setup) -> Scaling:
    """MIG of ever more points."""
    from pbt_disent.metrics import mig

    sizes = setup.pick((10_000, 40_000, 160_000, 640_000), (10_000, 40_000, 160_000), (500, 1000))
    codes, factors = _synthetic_codes(sizes[-1])

    def ours(points: int) -> float:
        return mig(codes[:points], factors[:points]).score

    def baseline(points: int) -> float:
        return mig_by_pairs(codes[:points], factors[:points])

    return Scaling(
        "points",
        sizes,
        1,
        ScalingImplementation("joint histograms", cost_by_size(ours)),
        lambda: _check_scores("MIG", ours(sizes[0]), baseline(sizes[0]), POINTS_TOLERANCE),
        repeats=1,
        baselines=[
            ScalingImplementation(
                "mutual_info_score per pair", cost_by_size(baseline), max_size=setup.pick(160_000, 40_000, 1000)
            )
        ],
    )


def prepare_irs(setup: Setup) -> Comparison:
    """10,000 points, 10 latents, five factors of dSprites' sizes, the 0.99 quantile."""
    from pbt_disent.metrics import irs

    codes, factors = _synthetic_codes(setup.pick(10_000, 10_000, 500))

    def check() -> str:
        return _check_scores("IRS", irs(codes, factors).score, irs_by_groups(codes, factors), TOLERANCE)

    return Comparison(
        timed("all latents of a group at once", lambda: irs(codes, factors), number=setup.pick(5, 2, 1)),
        [timed("latent by latent", lambda: irs_by_groups(codes, factors))],
        check,
        repeats=setup.pick(7, 5, 1),
    )


def prepare_dci(setup: Setup) -> Comparison:
    """2,000 training and 1,000 test points, factors of dSprites' sizes: 3, 6, 40, 32, 32."""
    from pbt_disent.metrics import dci

    train, test = setup.pick(2000, 2000, 80), setup.pick(1000, 1000, 40)
    codes, factors = _synthetic_codes(train + test)
    columns = setup.pick([0, 1, 2, 3, 4], [0, 2], [0, 1])
    checked_columns = setup.pick([0, 1], [0], [0, 1])
    last_scores: dict[str, DCI] = {}

    def run(budget: str, columns: list[int], seed: int = 0) -> DCI:
        selected = factors[:, columns]
        return dci(codes[:train], selected[:train], codes[train:], selected[train:], budget=budget, seed=seed)

    def with_new_seeds(budget: str) -> Callable[[], None]:
        seeds = count(1)  # exact trees that were fitted with the same seed before are cached

        def work() -> None:
            last_scores[budget] = run(budget, columns, next(seeds))

        return work

    def check() -> str:
        difference = _dci_difference(run("fast", checked_columns), run("protocol", checked_columns))
        if difference > DCI_TOLERANCE and setup.size != "tiny":
            raise Disagreement(f"DCI of {len(checked_columns)} factors: scores differ by {difference:.3f}")
        return f"over {len(checked_columns)} of the factors, disentanglement and completeness within {difference:.3f}"

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        fast, protocol = last_scores["fast"], last_scores["protocol"]
        return [
            Measurement(
                "difference of disentanglement or completeness",
                _dci_difference(fast, protocol),
                "",
                Goal(DCI_TOLERANCE, at_most=True),
            ),
            Measurement("difference of informativeness", abs(fast.informativeness - protocol.informativeness), ""),
        ]

    return Comparison(
        timed("histogram trees", with_new_seeds("fast")),
        [timed("exact boosted trees of scikit-learn", with_new_seeds("protocol"))],
        check,
        repeats=1,
        measurements=measurements,
    )


def prepare_votes(name: str, loop: Callable[..., float], setup: Setup) -> Comparison:
    """10,000 training and 5,000 evaluation votes of 64 points each, from 10,000 labelled points.

    The plain loop searches the set for the points of a value in every batch; the best one looks them up once. The goal
    is meant for a loop over votes as it is written first, so that the plain one has a row of its own. Each
    implementation draws votes of its own, so scores agree within 0.03 or three standard errors.
    """
    from pbt_disent import metrics

    codes, factors = _synthetic_codes(setup.pick(10_000, 10_000, 500))
    train, evaluate = setup.pick((10_000, 5_000), (10_000, 5_000), (300, 300))

    def ours() -> float:
        return float(getattr(metrics, name)(codes, factors, num_train=train, num_eval=evaluate).score)

    def baseline(*, search: bool = False) -> float:
        return loop(codes, factors, train, evaluate, search=search)

    def check() -> str:
        a, b = ours(), baseline()
        error = math.sqrt((a * (1 - a) + b * (1 - b)) / evaluate)
        if abs(a - b) > max(VOTES_TOLERANCE, 3 * error):
            raise Disagreement(f"{name}: scores {a:.3f} and {b:.3f}")
        return f"scores {a:.3f} and {b:.3f}"

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        ratio = medians[SEARCHING_LOOP] / medians[OUR_VOTES]
        return [Measurement("against the plain loop", ratio, "times", VOTES_GOAL)]

    return Comparison(
        timed(OUR_VOTES, ours),
        [timed("a loop over votes", baseline), timed(SEARCHING_LOOP, partial(baseline, search=True))],
        check,
        repeats=setup.pick(2, 1, 1),
        measurements=measurements,
    )


def _synthetic_codes(points: int, latents: int = 10, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Return codes (N, Z) and factors (N, 5), as a half-disentangled model would give them.

    Three latents follow one factor each, two mix the other two factors, and the remaining ones are noise.
    """
    rng = Streams(seed).generator("bench", "labelled codes")
    factors = np.stack([rng.integers(size, size=points) for size in SPRITES_SIZES], axis=1)
    followed = factors / np.array(SPRITES_SIZES)
    followed[:, 3:] = followed[:, 3:] @ np.array([[1.0, 1.0], [1.0, -1.0]])
    followed += NOISE * rng.normal(size=followed.shape)
    return np.concatenate([followed, rng.normal(size=(points, latents - len(SPRITES_SIZES)))], axis=1), factors


def _check_scores(name: str, ours: float, baseline: float, tolerance: float) -> str:
    difference = abs(ours - baseline)
    if difference > tolerance:
        raise Disagreement(f"{name}: scores differ by {difference:.1e}")
    return f"scores within {difference:.0e}"


def _dci_difference(a: DCI, b: DCI) -> float:
    return max(abs(a.disentanglement - b.disentanglement), abs(a.completeness - b.completeness))


CASES.register("mig")(
    Case(
        "MIG of 10,000 points: against scikit-learn for each pair",
        partial(prepare_information, "mig", mig_by_pairs),
        Goal(10),
    )
)
CASES.register("modularity")(
    Case(
        "modularity of 10,000 points: against scikit-learn for each pair",
        partial(prepare_information, "modularity", modularity_by_pairs),
    )
)
CASES.register("grow-points")(
    Case("MIG: against linear growth in points, and scikit-learn for each pair", prepare_points)
)
CASES.register("irs")(Case("IRS of 10,000 points: against a loop over groups and latents", prepare_irs))
CASES.register("dci-fast")(
    Case("DCI over dSprites' factors, 2,000 points: against exact boosted trees", prepare_dci, Goal(10))
)
CASES.register("factor-vae")(
    Case(
        "FactorVAE score, 15,000 votes: against a loop over votes",
        partial(prepare_votes, "factor_vae", factor_vae_by_votes),
        VOTES_GOAL,
    )
)
CASES.register("beta-vae")(
    Case(
        "beta-VAE score, 15,000 votes: against a loop over votes",
        partial(prepare_votes, "beta_vae", beta_vae_by_votes),
        VOTES_GOAL,
    )
)
