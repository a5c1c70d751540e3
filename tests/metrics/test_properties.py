"""What holds for every metric, whatever it is given: bounds, symmetries, the perfect and the empty representation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbt_disent.metrics import METRICS, MetricInputs, MetricResult
from pbt_disent.types import FloatArray, IntArray

POINTS = 240
LABELLED = [name for name in METRICS if METRICS[name].kind == "labelled"]
UNLABELLED = [name for name in METRICS if METRICS[name].kind == "unlabelled"]
RANKINGS = [name for name in METRICS if METRICS[name].kind == "ranking"]
OF_CODES = [*LABELLED, *UNLABELLED]
COSTLY = [name for name in METRICS if METRICS[name].costly]

DRAWN = 0.06
"""Scores of drawn votes, split halves and fitted classifiers move with the order of what they are given."""
TOLERANCE = dict.fromkeys(
    ["beta_vae", "factor_vae", "dci", "downstream_boosted", "downstream_logistic", "infomec"], DRAWN
)


def few_examples(name: str) -> settings:
    """Few examples of what takes long; the same ones each time."""
    return settings(max_examples=2 if name in COSTLY else 12, deadline=None, derandomize=True)


def run(name: str, inputs: MetricInputs) -> dict[str, float]:
    result = METRICS[name].run(inputs, "fast", 0)
    return {part: float(getattr(result, part)) for part in METRICS[name].parts if getattr(result, part) is not None}


def bounds_of(name: str) -> tuple[float, float]:
    result: type[MetricResult] = METRICS[name].result_type
    return result.bounds


def factors_of(rng: np.random.Generator, sizes: list[int], points: int = POINTS) -> IntArray:
    """Return factors (N, K), each value of each at least four times."""
    return np.stack([rng.permutation(np.arange(points) % size) for size in sizes], axis=1)


@dataclass(frozen=True)
class FlawedCodes:
    """Codes with the flaws that real models have, one kind per latent."""

    sizes: tuple[int, ...]
    kinds: tuple[str, ...]
    seed: int

    def inputs(self) -> MetricInputs:
        rng = np.random.default_rng(self.seed)
        factors = factors_of(rng, list(self.sizes))
        columns: list[FloatArray] = []
        for number, kind in enumerate(self.kinds):
            followed = factors[:, number % len(self.sizes)].astype(np.float64)
            noise = rng.normal(size=POINTS)
            columns.append(
                {
                    "constant": np.full(POINTS, 0.1),
                    "nearly constant": 0.1 + 1e-9 * noise,
                    "exact": followed,
                    "noisy": followed + noise,
                    "noise": noise,
                    "ties": np.round(followed / 2 + noise),
                    "twin": columns[-1] if columns else noise,
                    "outlier": np.where(np.arange(POINTS) == 7, 1e6, followed),
                    "tiny": 1e-7 * (followed + noise),
                    "huge": 1e12 + 1e9 * followed,
                    "binary": (followed > followed.mean()) * 1.0,
                }[kind]
            )
        return MetricInputs(np.stack(columns, axis=1), factors)


KINDS = [
    "constant", "nearly constant", "exact", "noisy", "noise", "ties", "twin", "outlier", "tiny", "huge", "binary"
]  # fmt: skip
FLAWED_CODES = st.builds(
    FlawedCodes,
    sizes=st.lists(st.integers(2, 9), min_size=1, max_size=4).map(tuple),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6).map(tuple),
    seed=st.integers(0, 2**16),
)


@pytest.mark.parametrize("name", OF_CODES)
def test_scores_of_flawed_codes_are_defined_and_within_bounds(name: str) -> None:
    low, high = bounds_of(name)

    @few_examples(name)
    @given(flawed=FLAWED_CODES)
    def holds(flawed: FlawedCodes) -> None:
        for part, value in run(name, flawed.inputs()).items():
            assert low - 1e-9 <= value <= high + 1e-9, (part, value)

    holds()


@pytest.mark.parametrize("name", RANKINGS)
def test_rankings_of_flawed_models_are_defined_and_within_bounds(name: str) -> None:
    low, high = bounds_of(name)

    @few_examples(name)
    @given(models=st.lists(FLAWED_CODES, min_size=2, max_size=4), latents=st.integers(1, 4), dead=st.integers(0, 15))
    def holds(models: list[FlawedCodes], latents: int, dead: int) -> None:
        codes = np.stack([np.resize(np.asarray(model.inputs().codes).T, (latents, POINTS)).T for model in models])
        information = np.ones(codes.shape[::2])
        information.flat[dead % information.size] = 0.0
        for value in run(name, MetricInputs(codes, information=information)).values():
            assert low - 1e-9 <= value <= high + 1e-9

    holds()


def representation(seed: int) -> MetricInputs:
    """Return codes of four latents that hold three factors partly entangled, in halves."""
    rng = np.random.default_rng(seed)
    factors = factors_of(rng, [2, 4, 5], 2 * POINTS)
    codes = factors @ rng.normal(size=(3, 4)) + 0.4 * rng.normal(size=(2 * POINTS, 4))
    return MetricInputs(codes[:POINTS], factors[:POINTS], codes[POINTS:], factors[POINTS:])


def changed(inputs: MetricInputs, order: IntArray, scale: FloatArray, columns: IntArray) -> MetricInputs:
    codes, test_codes = (np.asarray(half)[:, order] * scale for half in (inputs.codes, inputs.test_codes))
    factors, test_factors = (np.asarray(half)[:, columns] for half in (inputs.factors, inputs.test_factors))
    return MetricInputs(codes, factors, test_codes, test_factors)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_CODES)
def test_order_sign_and_scale_of_latents_and_order_of_factors_do_not_matter(name: str) -> None:
    @few_examples(name)
    @given(seed=st.integers(0, 2**16), scale=st.sampled_from([1.0, 2.0, 16.0]))
    def holds(seed: int, scale: float) -> None:
        inputs, rng = representation(seed), np.random.default_rng(seed)
        if name == "downstream_logistic":
            scale = 1.0  # the penalty of the published classifier is on weights as they are
        order, columns, signs = rng.permutation(4), rng.permutation(3), rng.choice([-1.0, 1.0], 4)
        # A sign turns half-open bins around, so that a value on an edge may change bins.
        tolerance = TOLERANCE.get(name, 0.02)
        before, after = run(name, inputs), run(name, changed(inputs, order, scale * signs, columns))
        for part, value in before.items():
            squared = name == "gaussian_wasserstein_correlation" and part == "score"
            assert after[part] == pytest.approx(value * (scale**2 if squared else 1.0), abs=tolerance, rel=0.02)

    holds()


@pytest.mark.parametrize("name", [name for name in OF_CODES if name not in TOLERANCE])
def test_order_of_points_does_not_matter(name: str) -> None:
    @few_examples(name)
    @given(seed=st.integers(0, 2**16))
    def holds(seed: int) -> None:
        inputs, rows = representation(seed), np.random.default_rng(seed).permutation(POINTS)
        turned = replace(inputs, codes=np.asarray(inputs.codes)[rows], factors=np.asarray(inputs.factors)[rows])
        for part, value in run(name, inputs).items():
            assert run(name, turned)[part] == pytest.approx(value, abs=1e-3 if METRICS[name].costly else 1e-9)

    holds()


PERFECT = dict.fromkeys(LABELLED, 0.95) | {"sap": 0.45, "downstream_logistic": 0.9, "sap_continuous": 0.9}
"""At least this much. SAP's second best latent still guesses a binary factor half of the time."""

NOTHING = {
    "mig": 0.1, "nmig": 0.1, "leaf_mig": 0.1, "mig_sup": 0.1, "sap": 0.12, "sap_continuous": 0.05,
    "beta_vae": 0.7, "factor_vae": 0.7, "explicitness": 0.65, "downstream_logistic": 0.65, "downstream_boosted": 0.65,
}  # fmt: skip
"""At most this much: 0, or what guessing gives. Ratios of what is nothing (modularity, DCI, IRS) have no such value."""


@pytest.mark.parametrize("name", LABELLED)
def test_a_perfect_representation_reaches_the_bound_and_an_independent_one_nothing(name: str) -> None:
    @few_examples(name)
    @given(seed=st.integers(0, 2**16))
    def holds(seed: int) -> None:
        rng = np.random.default_rng(seed)
        factors = factors_of(rng, [2, 2], 2 * POINTS)
        perfect = (factors[:, ::-1] * rng.choice([-1.0, 1.0], 2)) + 0.001 * rng.normal(size=factors.shape)
        unrelated = rng.normal(size=factors.shape)
        for codes, good in ((perfect, True), (unrelated, False)):
            inputs = MetricInputs(codes[:POINTS], factors[:POINTS], codes[POINTS:], factors[POINTS:])
            for value in run(name, inputs).values():
                assert value >= PERFECT[name] if good else value <= NOTHING.get(name, 1.0)

    holds()


@pytest.mark.parametrize("name", UNLABELLED)
def test_independent_latents_have_nothing_in_common_and_twins_have_much(name: str) -> None:
    @few_examples(name)
    @given(seed=st.integers(0, 2**16))
    def holds(seed: int) -> None:
        codes = np.random.default_rng(seed).normal(size=(2000, 3))
        apart = next(iter(run(name, MetricInputs(codes)).values()))
        assert apart < 0.13
        twins = codes[:, [0, 1, 1]] + 0.01 * codes[:, [0, 1, 2]]
        assert next(iter(run(name, MetricInputs(twins)).values())) > apart + 0.3

    holds()


@pytest.mark.parametrize("name", RANKINGS)
def test_rankings_see_no_order_sign_or_scale_and_tell_agreement(name: str) -> None:
    @few_examples(name)
    @given(seed=st.integers(0, 2**16))
    def holds(seed: int) -> None:
        rng = np.random.default_rng(seed)
        sources = rng.normal(size=(2000, 4))  # with 500 points some sources are correlated by chance
        alike = np.stack([sources + 0.1 * rng.normal(size=sources.shape) for _ in range(4)])
        turned = np.stack([codes @ np.linalg.qr(rng.normal(size=(4, 4)))[0] for codes in alike])
        unrelated = rng.normal(size=alike.shape)
        ones = np.ones((4, 4))
        moved = np.stack([codes[:, rng.permutation(4)] * rng.choice([-3.0, 0.5], 4) for codes in alike])
        agree, same, worse, none = (
            run(name, MetricInputs(codes, information=ones))["score"] for codes in (alike, moved, turned, unrelated)
        )
        most = 4 if name == "udr_coverage" else 1  # it counts the latents that agree
        assert same == pytest.approx(agree, abs=1e-4 * most)
        assert agree / most > 0.85 > worse / most
        assert none / most < 0.15

    holds()
