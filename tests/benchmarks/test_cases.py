"""Every case runs at a tiny size, and its implementations agree; nothing here asserts a time."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest

from benchmarks import CASES, Setup, run_case
from benchmarks.case import Comparison, ComputedCost, Implementation, Unavailable
from benchmarks.training_steps import TrainingSteps
from pbt_disent.machine import visible_gpus
from pbt_disent.metrics import _boosted_trees
from pbt_disent.metrics._boosted_trees import FittedTrees

RAY = {"generation", "empty-generation", "grow-nodes"}
SLOW = {"startup", "step-32", "step-64", "grow-memory", "grow-replicas", "grow-tracking", "tracking-cost"}


def marked(name: str) -> object:
    if CASES[name].needs_gpu:
        return pytest.param(name, marks=[pytest.mark.gpu, pytest.mark.skipif(not visible_gpus(), reason="no GPU")])
    ray = [pytest.mark.ray, pytest.mark.timeout(600)] if name in RAY else []
    return pytest.param(name, marks=[*ray, *([pytest.mark.slow] if name in SLOW else [])])


@pytest.mark.parametrize("name", [marked(name) for name in CASES])
def test_a_case_runs_and_its_implementations_agree(name: str) -> None:
    case = run_case(name, "tiny", lambda text: None)
    result = case.as_json()
    assert result["case"] == name
    assert result["agreement"]
    assert result["baseline"] is not None, "no baseline ran"
    assert result["ratio"] > 0
    assert result["spread"][0] <= result["ratio"] <= result["spread"][1]
    assert all(row.ran or row.remark for row in case.baselines)
    for curve in case.curves:
        assert len(curve.costs) == len(curve.sizes) >= 2
        assert min(curve.costs) > 0


@pytest.mark.parametrize("name", list(CASES))
def test_a_case_has_a_summary_of_one_line(name: str) -> None:
    summary = CASES[name].summary
    assert "against" in summary
    assert "\n" not in summary


@pytest.mark.parametrize("name", ["step-32", "generation"])
def test_baselines_that_do_not_run_say_why(name: str, tmp_path: Path) -> None:
    prepared = CASES[name].prepare(Setup("tiny", tmp_path, tmp_path))
    assert isinstance(prepared, Comparison)
    for baseline in prepared.baselines:
        if isinstance(baseline, ComputedCost):
            assert baseline.how
            assert baseline.cost > 0
        elif isinstance(baseline, Unavailable):
            assert "not installed" in baseline.reason
        else:
            assert isinstance(baseline, Implementation)


def test_no_round_of_dci_finds_trees_that_were_fitted_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []

    def count(*arrays: object) -> FittedTrees:
        fitted.append(len(fitted))
        return fit(*arrays)  # type: ignore[arg-type]

    fit = _boosted_trees.exact_trees
    monkeypatch.setattr(_boosted_trees, "exact_trees", count)
    monkeypatch.setattr(_boosted_trees, "_CACHE", OrderedDict())
    comparison = CASES["dci-fast"].prepare(Setup("tiny", tmp_path, tmp_path))
    assert isinstance(comparison, Comparison)
    (baseline,) = comparison.baselines
    assert isinstance(baseline, Implementation)
    for rounds in (1, 2):
        baseline.costs()
        assert len(fitted) == 2 * rounds  # two factors


@pytest.mark.slow
def test_a_process_of_its_own_takes_the_same_steps() -> None:
    steps = TrainingSteps(32, replicas=3, batch=16)
    here, in_own_process = steps.ours(), steps.in_own_process("ours")
    for _ in range(2):
        assert in_own_process() == pytest.approx(here(), rel=1e-5)
