"""How the metrics' work grows: with models, with latents, with points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.case import CASES, Case, Disagreement, Grower, Growth, Measure, Setting
from benchmarks.peers.information import gap_by_pairs
from benchmarks.peers.ranking import rank_models
from benchmarks.representation import labelled_codes, models_of_one_set
from benchmarks.timing import timed

__all__ = ["prepare_latents", "prepare_models", "prepare_points"]

TOLERANCE = 1e-6


def prepare_models(setting: Setting) -> Growth:
    """UDR of all ordered pairs, 500 points and 10 latents, so that the work is the square of the models."""
    from pbt_disent.metrics import udr

    points = setting.pick(500, 500, 60)
    sizes = setting.pick((14, 28, 56, 112, 224), (14, 28, 56, 112), (4, 8))
    codes, information = models_of_one_set(sizes[-1], points)

    def agree() -> str:
        few = sizes[0]
        apart = np.abs(
            udr(codes[:few], information[:few]).model_scores - rank_models(codes[:few], information[:few])[0]
        )
        if apart.max() > TOLERANCE:
            raise Disagreement(f"UDR of {few} models: scores differ by {apart.max():.1e}")
        return f"scores of {few} models within {apart.max():.0e}"

    def measures(medians: Mapping[int, float]) -> Sequence[Measure]:
        pairs = sizes[-1] * (sizes[-1] - 1)
        return [Measure("for a pair of models", 1e6 * medians[sizes[-1]] / pairs, "µs")]

    return Growth(
        "models",
        sizes,
        2,
        Grower("all pairs at once", _timed(lambda models: udr(codes[:models], information[:models]))),
        agree,
        1,
        [
            Grower(
                "scikit-learn Lasso per pair",
                _timed(lambda models: rank_models(codes[:models], information[:models])),
                most=setting.pick(56, 28, 8),
            )
        ],
        measures=measures,
    )


def prepare_latents(setting: Setting) -> Growth:
    """UDR by rank correlation of 16 models: every latent with every other, so that the work is their square."""
    from pbt_disent.metrics import udr

    sizes = setting.pick((16, 32, 64, 128), (16, 32, 64, 128), (5, 10))
    codes, _ = models_of_one_set(setting.pick(16, 16, 4), setting.pick(1000, 1000, 100), sizes[-1])
    information = np.full(codes.shape[::2], 2.0)

    def work(latents: int) -> object:
        return udr(codes[:, :, :latents], information[:, :latents], "spearman")

    def agree() -> str:
        first, second = codes[0, :, 0], codes[1, :, 1]
        theirs = abs(float(np.corrcoef(first.argsort().argsort(), second.argsort().argsort())[0, 1]))
        apart = abs(float(udr(codes, information, "spearman").correlations[0, 1, 0, 1]) - theirs)
        if apart > TOLERANCE:
            raise Disagreement(f"a rank correlation differs by {apart:.1e}")
        return f"a rank correlation within {apart:.0e}"

    return Growth("latents", sizes, 2, Grower("one matrix product", _timed(work)), agree, setting.pick(2, 1, 1))


def prepare_points(setting: Setting) -> Growth:
    """MIG of ever more points."""
    from pbt_disent.metrics import mig

    sizes = setting.pick((10_000, 40_000, 160_000, 640_000), (10_000, 40_000, 160_000), (500, 1000))
    codes, factors = labelled_codes(sizes[-1])

    def agree() -> str:
        few = sizes[0]
        apart = abs(mig(codes[:few], factors[:few]).score - gap_by_pairs(codes[:few], factors[:few]))
        if apart > TOLERANCE:
            raise Disagreement(f"MIG: scores differ by {apart:.1e}")
        return f"scores within {apart:.0e}"

    return Growth(
        "points",
        sizes,
        1,
        Grower("joint histograms", _timed(lambda points: mig(codes[:points], factors[:points]))),
        agree,
        1,
        [
            Grower(
                "mutual_info_score per pair",
                _timed(lambda points: gap_by_pairs(codes[:points], factors[:points])),
                most=setting.pick(160_000, 40_000, 1000),
            )
        ],
    )


def _timed(work: Callable[[int], object]) -> Callable[[int], float]:
    """Return the cost of the work at a size: the faster of two times, as the first one finds its memory cold."""

    def cost(size: int) -> float:
        return min(timed("", lambda: work(size)).costs()[0] for _ in range(2))

    return cost


CASES.register("grow-models")(
    Case("UDR of all pairs: against quadratic growth in models, and a lasso per pair", prepare_models)
)
CASES.register("grow-latents")(Case("UDR by rank correlation: against quadratic growth in latents", prepare_latents))
CASES.register("grow-points")(
    Case("MIG: against linear growth in points, and scikit-learn for each pair", prepare_points)
)
