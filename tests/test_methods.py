"""The methods beside rPU-VAE on real images with real training, tiny; and the presets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pbt_disent import api
from pbt_disent.cli.summary import print_summary
from pbt_disent.config import load_config, preset_names
from pbt_disent.errors import UserError
from pbt_disent.models import OBJECTIVES
from pbt_disent.population.manifest import Manifest
from pbt_disent.rounds.budget import run_cost
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.runs import create_run
from tests.population.fakes import Watch, manifests
from tests.test_pipeline import TINY


def run(root: Path, *overrides: str) -> tuple[api.PreparedRun, api.RunOutcome, list[Manifest]]:
    folder = create_run(load_config(None, [*TINY, *overrides]), "tiny", root, None)
    prepared = api.prepare(folder)
    outcome = api.execute(prepared, Watch(), api.InProcess())
    return prepared, outcome, [Manifest.from_bytes(content) for _, content in sorted(manifests(folder.path).items())]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mig", "dci"])
def test_pbt_vae_ranks_single_models_by_labels(tmp_path: Path, metric: str, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["supervision.share=0.5", f"population.fitness={metric}"]
    prepared, outcome, history = run(tmp_path, "method=pbt-vae", "population.oversize=2", *overrides)
    assert [len(manifest.members) for manifest in history] == [6, 3]
    assert all(len(record.checkpoints) == 1 for manifest in history for record in manifest.members)
    assert outcome.model is not None
    assert outcome.result.image_passes == (6 + 3) * 256 == run_cost(prepared.config).image_passes
    assert prepared.ranking is not None
    assert prepared.evaluation_images is not None
    labels = np.asarray(BlobStore(prepared.folder.blobs).get_array(prepared.ranking))
    ranked = np.flatnonzero((labels >= 0).all(axis=1))
    assert len(ranked) == len(labels) // 2
    assert len(np.intersect1d(ranked, prepared.evaluation_images)) == 0
    assert "ranks by" in prepared.supervision_summary
    first = outcome.scores["first"]
    print_summary(prepared.folder, outcome, {**outcome.scores, "true_factors": None}, tmp_path / "report.html")
    output = capsys.readouterr().out
    if metric == "mig":
        low, high = first["interval"]
        assert low <= first["score"] <= high
        assert f"best MIG {first['score']:.3f} [{low:.3f} to {high:.3f}, over images]\n" in output
    else:
        assert first["interval"] is None, "DCI takes 60 points, and half of the labelled ones are 32"
        assert "(no interval: too few labelled images to score halves of them)\n" in output


def test_too_few_labels_to_rank_by(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must be at least 20 to rank by"):
        run(tmp_path, "method=pbt-vae", "supervision.share=0.01", "supervision.factors=[shape]")


@pytest.mark.slow
def test_random_search_keeps_its_first_draw_and_fixed_its_defaults(tmp_path: Path) -> None:
    _, _, selected = run(tmp_path / "pbt", "method=pbt-u-vae")
    _, _, drawn = run(tmp_path / "random", "method=random-search")
    prepared, _, fixed = run(tmp_path / "fixed", "method=fixed")
    values = [[record.hyperparameters for record in manifest.members] for manifest in drawn]
    assert values[0] == values[1] == [record.hyperparameters for record in selected[0].members]
    assert all(record.operation == "continue" for record in drawn[1].members)
    assert [record.score for record in drawn[0].members] == [record.score for record in selected[0].members]
    (options,) = prepared.objectives_by_label.values()
    assert [record.hyperparameters for record in fixed[0].members] == [options.fixed] * 3
    assert len({record.score for record in fixed[0].members}) > 1
    assert selected[-1].image_passes == drawn[-1].image_passes == fixed[-1].image_passes


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_makes_a_population(tmp_path: Path, name: str) -> None:
    """By the same override as on the command line; its members train, are scored, replaced and trained on."""
    overrides = {"provlae": ["objective.levels=2"], "factorvae": ["objective.discriminator_width=32"]}
    small = [f"objective={name}", "objective.network.width=4", *overrides.get(name, [])]
    _, outcome, history = run(tmp_path, "method=pbt-u-vae", *small)
    assert len(history) == 2
    assert {record.objective for manifest in history for record in manifest.members} == {name}
    assert all(
        record.status == "ok" and record.score is not None for manifest in history for record in manifest.members
    )
    assert any(record.parent is not None for record in history[-1].members)
    assert outcome.model is not None
    assert outcome.model.name == name


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_config_that_its_data_and_objective_fit(name: str) -> None:
    config = load_config(name, ["data.name=rooms"] if name == "auto" else [])
    data, objectives = api.check(config)
    assert len(data) >= 1000
    assert objectives[0].space.keys() >= {"lr", "beta"}
    assert json.loads(json.dumps(config.dump())) == config.dump()
