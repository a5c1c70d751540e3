"""The recursion on an oracle that reveals two factors a level: what it recovers, and every reason to stop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pbt_disent.metrics import leaf_runs_mig
from pbt_disent.population.executor import ScoreTask
from pbt_disent.population.fitness import MemberScore
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask
from tests.rounds.test_method import Oracle, run


def grid(*sizes: int) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, len(sizes))


class Five(Oracle):
    """As many factors as dSprites has."""

    factors = grid(3, 6, 8, 10, 40)
    noise = 0.02


class Six(Oracle):
    """As many factors as 3D Shapes has."""

    factors = grid(4, 4, 5, 4, 8, 20)
    noise = 0.02


@pytest.mark.parametrize("oracle", [Five, Six], ids=["five", "six"])
@pytest.mark.parametrize("method", ["density", "gaps"])
def test_all_factors_are_recovered_in_three_levels(tmp_path: Path, oracle: type[Oracle], method: str) -> None:
    result = run(tmp_path, oracle, None, f"rounds.segmentation.name={method}")
    count = oracle.factors.shape[1]
    for leaf in result.leaf_runs:
        assert [latent for level in leaf.levels for latent in level.latents] == list(range(count))
        for above, below in zip(leaf.levels, leaf.levels[1:], strict=False):
            frozen = oracle.factors[below.images][:, list(above.latents)]
            assert np.all(frozen == frozen[0])
    levels = [[(oracle.factors[level.images], level.codes) for level in leaf.levels] for leaf in result.leaf_runs]
    assert leaf_runs_mig(levels).score > 0.8


def reasons(folder: Path) -> list[str]:
    rows = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    return [row["reason"] for row in rows if row["event"] == "leaf_stopped"]


def test_a_deeper_round_without_information_stops(tmp_path: Path) -> None:
    class Once(Oracle):
        def encode(self, task: EncodeTask) -> EncodeOutcome:
            outcome = super().encode(task)
            whole = task.subset is None
            return outcome if whole else EncodeOutcome(outcome.codes, outcome.log_sigma, (0.1,) * 6)

    result = run(tmp_path, Once)
    assert reasons(tmp_path) == [f"round 0/leaf{i}/1 learned no latent with enough information" for i in (1, 2)]
    assert [len(leaf.levels) for leaf in result.leaf_runs] == [1, 1]


def test_a_deeper_round_without_agreement_stops(tmp_path: Path) -> None:
    class Disagreeing(Oracle):
        def score(self, task: ScoreTask) -> list[MemberScore]:
            scores = super().score(task)
            low = task.round.startswith("0/leaf2")
            return [MemberScore(score.member, 0.01, (0.01, 0.01)) for score in scores] if low else scores

    result = run(tmp_path, Disagreeing)
    assert reasons(tmp_path) == ["the greatest depth, 2, is reached", "round 0/leaf2/1 learned nothing"]
    assert [len(leaf.levels) for leaf in result.leaf_runs] == [3, 1]


def test_there_may_be_fewer_subsets_than_leaf_runs(tmp_path: Path) -> None:
    class Two(Oracle):
        factors = grid(2, 40)

        def __init__(self, blobs: object) -> None:
            super().__init__(blobs, revealed=1)  # type: ignore[arg-type]

    result = run(tmp_path, Two, None, "rounds.leaf_runs=3", "rounds.max_depth=1")
    assert reasons(tmp_path)[2] == "only 2 candidate subsets"
    assert [len(leaf.levels) for leaf in result.leaf_runs] == [2, 2, 1]


def test_a_subset_may_be_too_small(tmp_path: Path) -> None:
    run(tmp_path, Oracle, None, "rounds.min_subset_images=361")
    assert reasons(tmp_path) == [f"the subset has only {6 * 4 * 5 * 3} images"] * 2


def test_a_cell_needs_more_images_than_the_least(tmp_path: Path) -> None:
    run(tmp_path, Oracle, None, "rounds.min_cell_images=360")
    assert reasons(tmp_path) == ["only 0 candidate subsets"] * 2
