"""Every registered metric through `score`: the contract, the draws, the intervals, the errors."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from pbt_disent import metrics
from pbt_disent.errors import UserError
from pbt_disent.metrics import (
    METRICS,
    MetricInputs,
    MetricResult,
    Provenance,
    applicable_metrics,
    register_metric,
    score,
)

RNG = np.random.default_rng(0)
FACTORS = RNG.integers([3, 4], size=(240, 2))
CODES = np.concatenate([FACTORS, RNG.normal(size=(240, 1))], axis=1) + 0.1 * RNG.normal(size=(240, 3))
MODELS = np.stack([CODES + 0.1 * RNG.normal(size=CODES.shape) for _ in range(4)])
INFORMATION = np.ones((4, 3))
IMAGES = RNG.uniform(size=(60, 1, 4, 4))
DECODED = {
    "images": IMAGES,
    "reconstructions": 0.9 * IMAGES,
    "generated": RNG.uniform(size=(50, 1, 4, 4)),
    "features": RNG.normal(size=(70, 3)),
    "generated_features": RNG.normal(size=(40, 3)),
}
NAMES = list(METRICS)


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_keeps_the_contract(name: str) -> None:
    ranking = METRICS[name].kind == "ranking"
    inputs = MetricInputs(MODELS, information=INFORMATION) if ranking else MetricInputs(CODES, FACTORS, **DECODED)
    scored = [score(inputs, name, budget="fast", intervals=False) for _ in range(2)]
    first, second = (entry[name] for entry in scored)
    low, high = first.result.bounds
    assert isinstance(first.result, METRICS[name].result_type)
    assert isinstance(first.result, MetricResult)
    assert list(first.values) == [part for part in METRICS[name].parts if getattr(first.result, part) is not None]
    assert METRICS[name].parts[0] in first.values
    assert first.values == second.values
    assert all(low <= value <= high for value in first.values.values())
    assert first.result.provenance.budget == "fast"
    assert first.result.provenance.samples
    assert first.result.provenance.version
    with pytest.raises(FrozenInstanceError):
        setattr(first.result, METRICS[name].parts[0], 1.0)


def test_all_means_what_the_inputs_allow() -> None:
    of_codes = {n for n in NAMES if METRICS[n].kind in ("labelled", "unlabelled")}
    assert set(applicable_metrics(MetricInputs(CODES, FACTORS))) == of_codes
    assert set(applicable_metrics(MetricInputs(CODES, FACTORS, **DECODED))) == of_codes | {
        "reconstruction_error", "sliced_wasserstein", "frechet_distance"
    }  # fmt: skip
    without = {name: values for name, values in DECODED.items() if name != "generated"}
    assert "sliced_wasserstein" not in applicable_metrics(MetricInputs(CODES, **without))
    assert set(applicable_metrics(MetricInputs(CODES))) == {n for n in NAMES if METRICS[n].kind == "unlabelled"}
    rankings = {"udr", "udr_coverage", "udr_matched", "udr_spearman"}
    assert set(applicable_metrics(MetricInputs(MODELS, information=INFORMATION))) == rankings


def test_intervals_hold_the_score_and_rankings_have_two() -> None:
    scores = score(MetricInputs(CODES, FACTORS), ["mig", "sap_continuous"], budget="fast")
    for scored in scores.values():
        (interval,) = scored.intervals["score"]
        assert interval.low <= scored.values["score"] <= interval.high
        assert interval.over == "points"
    ranked = score(MetricInputs(MODELS, information=INFORMATION), "udr", budget="fast")["udr"]
    assert [interval.over for interval in ranked.intervals["score"]] == ["points", "models"]


def test_a_metric_that_is_registered_elsewhere_is_scored_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "_entries", {name: METRICS[name] for name in NAMES})

    @register_metric("mean_code", MetricResult, "unlabelled")
    def mean_code(inputs: MetricInputs, budget: str, seed: int) -> MetricResult:
        codes = np.asarray(inputs.codes)
        return MetricResult(score=float(codes.mean()), provenance=Provenance(budget, {"points": len(codes)}))

    assert "mean_code" in applicable_metrics(MetricInputs(CODES))
    scored = score(MetricInputs(CODES), "mean_code")["mean_code"]
    assert scored.values == {"score": CODES.mean()}
    assert scored.intervals["score"][0].low < CODES.mean() < scored.intervals["score"][0].high


def test_each_metric_is_announced() -> None:
    names: list[str] = []
    score(MetricInputs(CODES, FACTORS), ["mig", "irs"], intervals=False, on_metric=names.append)
    assert names == ["mig", "irs"]


def test_what_a_decoder_makes_is_scored_with_intervals() -> None:
    names = ["reconstruction_error", "sliced_wasserstein", "frechet_distance"]
    scores = score(MetricInputs(CODES, **DECODED), names)
    error = metrics.reconstruction_error(IMAGES, 0.9 * IMAGES)
    assert scores[names[0]].values["score"] == error.score
    assert scores[names[1]].values["score"] == metrics.sliced_wasserstein(IMAGES, DECODED["generated"]).score
    assert scores[names[2]].result.provenance.samples == {"first": 70, "second": 40}
    (interval,) = scores[names[0]].intervals["score"]
    assert interval.high - interval.low == pytest.approx(3.92 * error.per_image.std() / np.sqrt(60), rel=0.4)
    for name in names[1:]:
        assert [interval.over for interval in scores[name].intervals["score"]] == ["points"]


def test_an_image_stays_with_its_reconstruction_when_fewer_are_drawn() -> None:
    many = np.random.default_rng(0).uniform(size=(900, 5))
    inputs = MetricInputs(CODES, images=many, reconstructions=many)
    scores = score(inputs, "reconstruction_error", budget="fast")
    assert scores["reconstruction_error"].values["score"] == 0
    assert scores["reconstruction_error"].result.provenance.samples == {"images": 500}


def test_costly_metrics_have_intervals_for_every_part() -> None:
    scores = score(MetricInputs(CODES, FACTORS), "dci", budget="fast")["dci"]
    assert set(scores.intervals) == {"disentanglement", "completeness", "informativeness"}
    assert all(len(intervals) == 1 for intervals in scores.intervals.values())


def test_points_are_drawn_once_within_the_budget() -> None:
    factors = np.random.default_rng(1).integers([3, 4], size=(9000, 2))
    codes = factors + 0.3 * np.random.default_rng(2).normal(size=(9000, 2))
    inputs = MetricInputs(codes, factors)
    scores = score(inputs, ["mig", "modularity"], budget="fast", intervals=False, seed=1)
    assert scores["mig"].result.provenance.samples == {"points": 3000}
    assert scores["mig"].values != score(inputs, "mig", budget="fast", intervals=False)["mig"].values
    halves = score(MetricInputs(codes, factors, codes, factors), "sap_continuous", budget="fast", intervals=False)
    assert halves["sap_continuous"].result.provenance.samples == {"train": 2000, "test": 1000}
    whole = score(inputs, "mig", intervals=False)["mig"]
    assert whole.values["score"] == metrics.mig(codes, factors).score


def test_sigma_adds_what_is_measured_of_samples() -> None:
    names = ["gaussian_total_correlation", "gaussian_wasserstein_correlation"]
    sigma = np.random.default_rng(3).uniform(0.1, 2, size=CODES.shape)
    scores = score(MetricInputs(CODES, sigma=sigma), names, intervals=False)
    assert scores[names[0]].values["sampled"] == metrics.gaussian_total_correlation(CODES, sigma).sampled
    assert scores[names[1]].values["sampled"] == metrics.gaussian_wasserstein_correlation(CODES, sigma).sampled
    assert "sampled" not in score(MetricInputs(CODES), names, intervals=False)[names[0]].values
    some = score(MetricInputs(CODES, sigma=sigma), names[0], budget="fast")[names[0]]
    assert all(some.intervals[part] for part in some.values)


def test_test_halves_reach_the_metric() -> None:
    shuffled = np.random.default_rng(0).permutation(FACTORS)
    good, bad = (
        score(MetricInputs(CODES, FACTORS, CODES, test), "explicitness", intervals=False)
        for test in (FACTORS, shuffled)
    )
    assert good["explicitness"].values["score"] > 0.8 > 0.65 > bad["explicitness"].values["score"]


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (MetricInputs(CODES, FACTORS), {"metrics": "migg"}, "metric 'migg': is no known metric; did you mean 'mig"),
        (MetricInputs(CODES), {"metrics": "mig"}, r"metric 'mig': needs codes \(N, Z\) and factors here"),
        (MetricInputs(CODES), {"metrics": "udr"}, r"needs codes \(M, N, Z\) of several models and their information"),
        (MetricInputs(CODES), {"metrics": "frechet_distance"}, "needs features and generated_features here"),
        (
            MetricInputs(CODES, images=IMAGES, reconstructions=IMAGES[:-1]),
            {},
            "60 images and 59 reconstructions: must be as",
        ),
        (MetricInputs(CODES, images=np.ones(5)), {}, r"images of shape \(5,\): must have one row per image"),
        (MetricInputs(MODELS), {}, "without information: cannot be ranked"),
        (MetricInputs(CODES, FACTORS), {"budget": "full"}, "budget 'full'"),
        (MetricInputs(CODES, FACTORS[:-1]), {}, "must have the same number of rows"),
        (MetricInputs(CODES[:, 0]), {}, "must have shape"),
        (MetricInputs(CODES, sigma=CODES[:-1]), {}, "and sigma of shape .*: must have the same number of rows"),
        (
            MetricInputs(CODES, sigma=CODES - 5),
            {"metrics": "gaussian_total_correlation"},
            "not finite and positive",
        ),
        (
            MetricInputs(CODES, FACTORS, CODES, FACTORS[:-1]),
            {},
            "test_codes of shape .* and test_factors of shape .*: must have the same number of rows",
        ),
        (MetricInputs(CODES, FACTORS, CODES[0], FACTORS), {}, "test_codes of shape"),
    ],
)
def test_bad_requests(inputs: MetricInputs, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        score(inputs, **options)
