"""Every case runs at a tiny size, and its sides agree; nothing here asserts a time."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest

from benchmarks import CASES, Setting, run_case
from benchmarks.case import Computed, Contest, NotRun, Side
from benchmarks.training_step import TrainingStep
from pbt_disent.machine import visible_gpus
from pbt_disent.metrics import _exact_trees
from pbt_disent.metrics._boosting import Boosted

RAY = {"generation", "empty-generation", "grow-nodes"}
SLOW = {"startup", "step-32", "step-64", "grow-memory", "grow-replicas", "grow-tracking", "tracking-cost"}


def marked(name: str) -> object:
    if CASES[name].gpu:
        return pytest.param(name, marks=[pytest.mark.gpu, pytest.mark.skipif(not visible_gpus(), reason="no GPU")])
    ray = [pytest.mark.ray, pytest.mark.timeout(600)] if name in RAY else []
    return pytest.param(name, marks=[*ray, *([pytest.mark.slow] if name in SLOW else [])])


@pytest.mark.parametrize("name", [marked(name) for name in CASES])
def test_a_case_runs_and_both_sides_agree(name: str) -> None:
    finding = run_case(name, "tiny", lambda text: None)
    result = finding.as_json()
    assert result["case"] == name
    assert result["agreement"]
    assert result["peer"] is not None, "no peer ran"
    assert result["ratio"] > 0
    assert result["spread"][0] <= result["ratio"] <= result["spread"][1]
    assert all(line.ran or line.remark for line in finding.lines)
    for curve in finding.curves:
        assert len(curve.costs) == len(curve.sizes) >= 2
        assert min(curve.costs) > 0


@pytest.mark.parametrize("name", list(CASES))
def test_a_case_has_a_summary_of_one_line(name: str) -> None:
    summary = CASES[name].summary
    assert "against" in summary
    assert "\n" not in summary


@pytest.mark.parametrize("name", ["step-32", "generation"])
def test_peers_that_do_not_run_say_why(name: str, tmp_path: Path) -> None:
    prepared = CASES[name].prepare(Setting("tiny", tmp_path, tmp_path))
    assert isinstance(prepared, Contest)
    for peer in prepared.peers:
        if isinstance(peer, Computed):
            assert peer.how
            assert peer.cost > 0
        elif isinstance(peer, NotRun):
            assert "not installed" in peer.reason
        else:
            assert isinstance(peer, Side)


def test_no_round_of_dci_finds_trees_that_were_fitted_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []

    def count(*arrays: object) -> Boosted:
        fitted.append(len(fitted))
        return fit(*arrays)  # type: ignore[arg-type]

    fit = _exact_trees._fit
    monkeypatch.setattr(_exact_trees, "_fit", count)
    monkeypatch.setattr(_exact_trees, "_FITTED", OrderedDict())
    contest = CASES["dci-fast"].prepare(Setting("tiny", tmp_path, tmp_path))
    assert isinstance(contest, Contest)
    (peer,) = contest.peers
    assert isinstance(peer, Side)
    for rounds in (1, 2):
        peer.costs()
        assert len(fitted) == 2 * rounds  # two factors


@pytest.mark.slow
def test_a_process_of_its_own_takes_the_same_steps() -> None:
    work = TrainingStep(32, replicas=3, batch=16)
    here, apart = work.ours(), work.apart("ours")
    for _ in range(2):
        assert apart() == pytest.approx(here(), rel=1e-5)
