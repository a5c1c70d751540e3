"""Bad input is one clear error, whatever the metric; torch and numpy, float32 and lists are accepted alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from pbt_disent import metrics
from pbt_disent.errors import UserError

LABELLED: list[Callable[..., Any]] = [
    metrics.mig,
    metrics.mig_sup,
    metrics.modularity,
    metrics.sap,
    metrics.explicitness,
    metrics.irs,
    metrics.dci,
    metrics.factor_vae,
    metrics.beta_vae,
    metrics.infomec,
    metrics.downstream,
    metrics.nmig,
]

CODES = np.random.default_rng(0).normal(size=(60, 3))
FACTORS = np.random.default_rng(1).integers(3, size=(60, 2))


@pytest.mark.parametrize("function", LABELLED)
@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (CODES[:50], FACTORS, r"codes of shape \(50, 3\) and factors of shape \(60, 2\): must have the same number"),
        (np.where(CODES > 1, np.nan, CODES), FACTORS, "NaN or infinite values: must be finite"),
        (CODES, np.stack([FACTORS[:, 0], np.ones(60)], axis=1), "factors, column 1: has one value only"),
        (np.ones((30, 40)), FACTORS[:30], r"more latents \(40\) than points \(30\)"),
        (CODES[:10], FACTORS[:10], "codes with 10 points: needs at least (20|60)"),
        (CODES[:, 0], FACTORS, r"must have shape \(N, Z\)"),
        (CODES, FACTORS[:, 0], r"factors of shape \(60,\): must have shape \(N, K\)"),
        (CODES, np.where(FACTORS > 1, np.nan, 1.0), "factors with NaN"),
        (CODES, CODES[:, :1], "60 values in 60 points, none of them twice"),
        (np.full((60, 3), "x"), FACTORS, "must hold real numbers"),
        ([[1.0, 2.0], [1.0]], FACTORS, "must be one rectangular array"),
    ],
)
def test_bad_input(function: Callable[..., Any], codes: ArrayLike, factors: ArrayLike, message: str) -> None:
    with pytest.raises(UserError, match=message):
        function(codes, factors)


@pytest.mark.parametrize("function", [metrics.sap, metrics.dci, metrics.explicitness])
def test_halves_belong_together(function: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="must have both"):
        function(CODES, FACTORS, CODES)
    with pytest.raises(UserError, match="Z = 3 and 2, K = 2 and 2"):
        function(CODES, FACTORS, CODES[:, :2], FACTORS)
    with pytest.raises(UserError, match="test_codes of shape"):
        function(CODES, FACTORS, CODES[:30], FACTORS)


def test_without_a_test_half_both_parts_have_to_be_large_enough() -> None:
    with pytest.raises(UserError, match="codes with 59 points: needs at least 60"):
        metrics.sap(CODES[:59], FACTORS[:59])
    assert metrics.sap(CODES, FACTORS).provenance.samples == {"train": 40, "test": 20}


def test_torch_tensors_and_lists_are_accepted() -> None:
    torch = pytest.importorskip("torch")
    expected = metrics.mig(CODES, FACTORS).score
    assert metrics.mig(torch.tensor(CODES, requires_grad=True), torch.tensor(FACTORS)).score == expected
    assert metrics.mig(CODES.tolist(), FACTORS.tolist()).score == expected


@pytest.mark.parametrize("function", LABELLED)
def test_layout_type_and_precision_do_not_matter(function: Callable[..., Any]) -> None:
    options = {"budget": "fast"} if function is not metrics.nmig else {}
    expected = function(CODES.astype(np.float32), FACTORS, **options).score
    wide = np.zeros((60, 6), dtype=np.float32)
    wide[:, ::2] = CODES
    locked = CODES.astype(np.float32)
    locked.setflags(write=False)
    for codes in (wide[:, ::2], np.asfortranarray(CODES, dtype=np.float32), locked):
        assert function(codes, FACTORS.astype(np.float64), **options).score == pytest.approx(expected, abs=1e-6)


def test_float32_is_binned_as_float32() -> None:
    codes = CODES.astype(np.float32)
    expected = np.digitize(codes[:, 0], np.histogram(codes[:, 0], 20)[1][:-1]) - 1
    np.testing.assert_array_equal(metrics.discretise(codes)[:, 0], expected)


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'quantile'"):
        metrics.mig(CODES, FACTORS, estimator="quantil")
    with pytest.raises(UserError, match="did you mean 'protocol'"):
        metrics.dci(CODES, FACTORS, budget="protocl")
    with pytest.raises(UserError, match="did you mean 'boosted'"):
        metrics.downstream(CODES, FACTORS, classifier="bosted")
    with pytest.raises(UserError, match="bins=1: must be at least 2"):
        metrics.mig(CODES, FACTORS, bins=1)


def test_values_of_factors_may_be_any_numbers() -> None:
    renamed = np.where(FACTORS == 0, -3.5, FACTORS * 100.0)
    assert metrics.mig(CODES, renamed).score == metrics.mig(CODES, FACTORS).score


def test_import_is_light() -> None:
    script = "import sys, pbt_disent.metrics; print([m for m in ('torch', 'scipy', 'sklearn') if m in sys.modules])"
    completed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "[]"
