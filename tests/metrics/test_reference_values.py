"""The metrics against values computed by disentanglement_lib's own functions."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pytest

from pbt_disent import metrics
from pbt_disent.types import FloatArray


class Case(Protocol):
    """One representation in halves, as the fixture gives it."""

    codes: FloatArray
    factors: FloatArray
    test_codes: FloatArray
    test_factors: FloatArray
    expected: dict[str, Any]


def within(score: float, expected: float, votes: int = 2000) -> bool:
    """Two accuracies agree within 0.03 or three standard errors of their difference."""
    error = np.sqrt(2 * max(expected * (1 - expected), 1e-4) / votes)
    return bool(abs(score - expected) <= max(0.03, 3 * error))


def agrees(score: float, expected: float | None, tolerance: float = 1e-6) -> bool:
    """Where the reference divides by zero it has no value; ours is a number all the same."""
    return bool(np.isfinite(score)) if expected is None else bool(abs(score - expected) <= tolerance)


def test_information_and_mig(cases: list[Case]) -> None:
    for case in cases:
        result = metrics.mig(case.codes, case.factors)
        np.testing.assert_allclose(result.mutual_information, case.expected["mutual_information"], atol=1e-6)
        np.testing.assert_allclose(result.factor_entropy, case.expected["factor_entropy"], atol=1e-6)
        assert agrees(result.score, case.expected["mig"])


@pytest.mark.parametrize("name", ["modularity", "irs"])
def test_labelled(cases: list[Case], name: str) -> None:
    for case in cases:
        assert agrees(getattr(metrics, name)(case.codes, case.factors).score, case.expected[name])


@pytest.mark.parametrize(
    "name", ["gaussian_total_correlation", "gaussian_wasserstein_correlation", "mutual_info_score"]
)
def test_unlabelled(cases: list[Case], name: str) -> None:
    for case in cases:
        assert agrees(getattr(metrics, name)(case.codes).score, case.expected[name])


def test_constant_latent_is_left_out_of_the_total_correlation(cases: list[Case]) -> None:
    case = next(case for case in cases if case.expected["gaussian_total_correlation"] is None)
    varying = case.codes[:, np.ptp(case.codes, axis=0) > 0]
    expected = -0.5 * np.linalg.slogdet(np.corrcoef(varying.astype(np.float64), rowvar=False))[1]
    assert metrics.gaussian_total_correlation(case.codes).score == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("continuous", [False, True])
def test_sap(cases: list[Case], continuous: bool) -> None:
    for case in cases:
        name = "sap_continuous" if continuous else "sap"
        if name in case.expected:
            result = metrics.sap(case.codes, case.factors, case.test_codes, case.test_factors, continuous=continuous)
            assert agrees(result.score, case.expected[name])


def test_explicitness(cases: list[Case]) -> None:
    for case in cases:
        if "explicitness_test" in case.expected:
            result = metrics.explicitness(case.codes, case.factors, case.test_codes, case.test_factors)
            assert agrees(result.score, case.expected["explicitness_test"], 1e-4)
            assert agrees(result.train_score, case.expected["explicitness_train"], 1e-4)


@pytest.mark.parametrize("name", ["factor_vae", "beta_vae"])
def test_sampled(cases: list[Case], name: str) -> None:
    for case in cases:
        result = getattr(metrics, name)(case.codes, case.factors, num_train=4000, num_eval=2000)
        assert within(result.score, case.expected[name]["eval_accuracy"])
        assert within(result.train_accuracy, case.expected[name]["train_accuracy"], 4000)


def small(case: Case) -> tuple[FloatArray, ...]:
    return case.codes[:2000], case.factors[:2000], case.test_codes[:1000], case.test_factors[:1000]


def test_fast_dci(cases: list[Case]) -> None:
    for case in cases:
        if "dci" in case.expected:
            result = metrics.dci(*small(case), budget="fast")
            assert result.disentanglement == pytest.approx(case.expected["dci"]["disentanglement"], abs=0.03)
            assert result.completeness == pytest.approx(case.expected["dci"]["completeness"], abs=0.03)
            assert result.informativeness == pytest.approx(case.expected["dci"]["informativeness_test"], abs=0.03)


@pytest.mark.slow
def test_protocol_dci(cases: list[Case]) -> None:
    for case in cases:
        if "dci" in case.expected:
            result = metrics.dci(*small(case))
            # The reference's seed is not known; between seeds the importance of two equally good latents moves by 0.04.
            np.testing.assert_allclose(result.importance, case.expected["dci"]["importance"], atol=0.04)
            assert result.disentanglement == pytest.approx(case.expected["dci"]["disentanglement"], abs=0.01)
            assert result.completeness == pytest.approx(case.expected["dci"]["completeness"], abs=0.01)
            assert result.informativeness == pytest.approx(case.expected["dci"]["informativeness_test"], abs=0.01)
