"""How sure a member's score is, from the manifest alone, and where that is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from pbt_disent.cli.live import summarize
from pbt_disent.population.fitness.labelled import MIGFitness
from pbt_disent.population.fitness.leaf_mig import LeafMIGFitness
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.manifest import Manifest, member_interval, score_text
from pbt_disent.report.page_rounds import population_context, round_tree
from pbt_disent.report.run_view import RoundView, RunView
from tests.simulated import simulate

SCORES = {0: (0.5, 0.48, 0.52), 1: (0.8, 0.81, 0.79), 2: (0.3, 0.3, 0.33)}


@pytest.fixture
def manifest() -> Manifest:
    """Three members of three models; the last member failed."""
    plain = simulate(members=4, generations=1, replicas=3, failing=[(0, 3)])[0]
    members = tuple(
        record.model_copy(
            update={"replica_scores": SCORES[record.member], "score": float(np.mean(SCORES[record.member]))}
        )
        if record.member in SCORES
        else record
        for record in plain.members
    )
    return plain.model_copy(update={"members": members})


def test_the_spread_is_that_of_all_members(manifest: Manifest) -> None:
    found = member_interval(manifest, manifest.best, LeafMIGFitness())
    error = np.sqrt(np.mean([np.var(scores, ddof=1) for scores in SCORES.values()]) / 3)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 6, loc=0.8, scale=error))


def test_models_that_are_compared_vary_together(manifest: Manifest) -> None:
    compared, alone = (
        member_interval(manifest, manifest.members[0], UDRFitness(against=who)) for who in ("replicas", "population")
    )
    assert compared is not None
    assert alone is not None
    assert (compared.high - 0.5) / (alone.high - 0.5) == pytest.approx(4.0), "three models in three pairs"


def test_without_an_interval_none_is_made_up(manifest: Manifest) -> None:
    assert member_interval(manifest, manifest.members[3], UDRFitness()) is None, "it failed"
    assert member_interval(manifest, None, UDRFitness()) is None
    two = simulate(members=3, generations=1, replicas=2)[0]
    assert member_interval(two, two.best, UDRFitness()) is None
    assert member_interval(two, two.best, UDRFitness(against="population")) is not None
    assert score_text(0.25, None) == "0.250"


@pytest.mark.parametrize("against", ["replicas", "population"])
def test_lines_and_report_print_it(manifest: Manifest, against: Literal["replicas", "population"]) -> None:
    fitness = UDRFitness(against=against)
    said = score_text(0.8, member_interval(manifest, manifest.best, fitness))
    assert said.startswith("0.800 [")
    assert summarize(manifest, fitness).cells()[2] == said
    view = RoundView("0", [manifest], {"started": {"fitness": fitness.dump(), "num_images": 96}})
    run = RunView(Path(), {}, "", [view], {}, None)
    (row,) = round_tree(run)
    assert (row["label"], row["score"]) == ("UDR", said)
    summary = population_context(view, 0)["summary"]
    assert summary.startswith(f"Best UDR {said}: member 1 in generation 1. The interval is")


def test_report_says_why_there_is_none() -> None:
    view = RoundView("0", simulate(members=3, generations=1, replicas=1), {"started": {"fitness": MIGFitness().dump()}})
    run = RunView(Path(), {}, "", [view], {}, None)
    assert "[" not in str(round_tree(run)[0]["score"])
    assert "With 1 model a member there is no interval" in population_context(view, 0)["summary"]
