"""UDR of a population, all pairs of models, and how its work grows with models and latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from benchmarks.baselines.metrics import udr_by_pairs, udr_spearman_by_pairs
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
)
from benchmarks.timing import cost_by_size, timed
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray

__all__ = ["prepare_latents", "prepare_models", "prepare_udr"]

TOLERANCE = 1e-6
REPLICAS = 5
"""The models of a member in a population of the published size."""

Loop = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""Returns model scores and coefficients from codes and information."""


def prepare_udr(correlation: str, loop: Loop, baseline: str, setup: Setup) -> Comparison:
    """56 models, 1,000 points, 10 latents: 3,080 ordered pairs, the lasso stopped where scikit-learn stops it."""
    from pbt_disent.metrics import udr

    codes, information = _synthetic_models(setup.pick(56, 56, 4), setup.pick(1000, 1000, 100))

    def check() -> str:
        some = slice(None, None, setup.pick(1, 4, 1))
        ours = udr(codes[some], information[some], correlation)
        scores, coefficients = loop(codes[some], information[some])
        score_error = float(np.abs(ours.model_scores - scores).max())
        coefficient_error = float(np.abs(ours.correlations - coefficients).max())
        if max(score_error, coefficient_error) > TOLERANCE:
            raise Disagreement(f"UDR: scores differ by {score_error:.1e} and coefficients by {coefficient_error:.1e}")
        return f"scores within {score_error:.0e}, coefficients within {coefficient_error:.0e}"

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        member = slice(min(REPLICAS, len(codes)))
        work = timed("one member", lambda: udr(codes[member], information[member], correlation))
        seconds = min(work.costs()[0] for _ in range(3))
        measured = [Measurement(f"for {REPLICAS} models, which are one member", 1000 * seconds, "ms")]
        if correlation == "lasso":
            optimum = timed("optimum", lambda: udr(codes, information, budget="fast")).costs()[0]
            measured.append(Measurement("to the optimum itself (budget fast)", optimum, "s"))
        return measured

    return Comparison(
        timed("all pairs at once", lambda: udr(codes, information, correlation)),
        [timed(baseline, lambda: loop(codes, information))],
        check,
        repeats=1,
        measurements=measurements,
    )


def prepare_models(setup: Setup) -> Scaling:
    """UDR of all ordered pairs, 500 points and 10 latents, so that the work is the square of the models."""
    from pbt_disent.metrics import udr

    sizes = setup.pick((14, 28, 56, 112, 224), (14, 28, 56, 112), (4, 8))
    codes, information = _synthetic_models(sizes[-1], setup.pick(500, 500, 60))

    def check() -> str:
        first = slice(sizes[0])
        scores, _ = udr_by_pairs(codes[first], information[first])
        error = np.abs(udr(codes[first], information[first]).model_scores - scores).max()
        if error > TOLERANCE:
            raise Disagreement(f"UDR of {sizes[0]} models: scores differ by {error:.1e}")
        return f"scores of {sizes[0]} models within {error:.0e}"

    def measurements(medians: Mapping[int, float]) -> Sequence[Measurement]:
        pairs = sizes[-1] * (sizes[-1] - 1)
        return [Measurement("for a pair of models", 1e6 * medians[sizes[-1]] / pairs, "µs")]

    return Scaling(
        "models",
        sizes,
        2,
        ScalingImplementation(
            "all pairs at once", cost_by_size(lambda models: udr(codes[:models], information[:models]))
        ),
        check,
        repeats=1,
        baselines=[
            ScalingImplementation(
                "scikit-learn Lasso per pair",
                cost_by_size(lambda models: udr_by_pairs(codes[:models], information[:models])),
                max_size=setup.pick(56, 28, 8),
            )
        ],
        measurements=measurements,
    )


def prepare_latents(setup: Setup) -> Scaling:
    """UDR by rank correlation of 16 models: every latent with every other, so that the work is their square."""
    from pbt_disent.metrics import udr

    sizes = setup.pick((16, 32, 64, 128), (16, 32, 64, 128), (5, 10))
    codes, _ = _synthetic_models(setup.pick(16, 16, 4), setup.pick(1000, 1000, 100), sizes[-1])
    information = np.full(codes.shape[::2], 2.0)

    def work(latents: int) -> object:
        return udr(codes[:, :, :latents], information[:, :latents], "spearman")

    def check() -> str:
        first, second = codes[0, :, 0], codes[1, :, 1]
        expected = abs(float(np.corrcoef(first.argsort().argsort(), second.argsort().argsort())[0, 1]))
        error = abs(float(udr(codes, information, "spearman").correlations[0, 1, 0, 1]) - expected)
        if error > TOLERANCE:
            raise Disagreement(f"a rank correlation differs by {error:.1e}")
        return f"a rank correlation within {error:.0e}"

    ours = ScalingImplementation("one matrix product", cost_by_size(work))
    return Scaling("latents", sizes, 2, ours, check, repeats=setup.pick(2, 1, 1))


def _synthetic_models(models: int, points: int, latents: int = 10, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Return codes (M, N, Z) of models that agree in part, and their information (M, Z), little for some latents."""
    rng = Streams(seed).generator("bench", "models")
    shared = rng.normal(size=(points, latents))
    codes = np.empty((models, points, latents))
    for model in codes:
        signs = rng.choice([-1.0, 1.0], latents)
        model[:] = shared[:, rng.permutation(latents)] * signs + 0.5 * rng.normal(size=shared.shape)
    return codes, np.where(rng.random((models, latents)) < 0.8, 2.0, 0.001)


CASES.register("udr")(
    Case(
        "UDR of 56 models, all pairs, 1,000 points: against a lasso per pair",
        partial(prepare_udr, "lasso", udr_by_pairs, "scikit-learn Lasso per pair"),
        Goal(8),
    )
)
CASES.register("udr-spearman")(
    Case(
        "UDR by rank correlation, 56 models, all pairs: against scipy's spearmanr per pair",
        partial(prepare_udr, "spearman", udr_spearman_by_pairs, "scipy spearmanr per pair"),
    )
)
CASES.register("grow-models")(
    Case("UDR of all pairs: against quadratic growth in models, and a lasso per pair", prepare_models)
)
CASES.register("grow-latents")(Case("UDR by rank correlation: against quadratic growth in latents", prepare_latents))
