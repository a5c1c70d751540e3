"""What the leaf runs found becomes labels and pairs for the final objective, which then really learns from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pbt_disent import api
from pbt_disent.config import load_config
from pbt_disent.models import LatentModel
from pbt_disent.population.events import Event, Phase
from pbt_disent.population.manifest import Manifest
from pbt_disent.rounds.final import segment_labels
from pbt_disent.rounds.recursion import LeafLevel, LeafRun
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from tests.population.fakes import Crash, Watch, manifests
from tests.test_pipeline import TINY

QUANTILES = "rounds.segmentation={name: quantile, quantiles: 2}"


def level(path: str, images: list[int], segments: list[list[int]]) -> LeafLevel:
    table = np.array(segments).T
    return LeafLevel(
        path, np.array(images), tuple(range(table.shape[1])), table.astype(float), table, (table >= 0) * 1.0, ""
    )


def test_segment_labels_are_those_of_every_level_once() -> None:
    top = level("0", [0, 1, 2, 3, 5], [[0, 0, 1, 1, -1], [0, 0, 0, 0, 0], [2, 1, 0, 2, 1]])
    leaf_runs = [
        LeafRun(1, (top, level("0/leaf1/1", [0, 1], [[1, 0]])), ""),
        LeafRun(2, (top, level("0/leaf2/1", [2, 3], [[0, 0]])), ""),
    ]
    assert segment_labels(leaf_runs, 6).tolist() == [
        [0, 2, 1],
        [0, 1, 0],
        [1, 0, -1],
        [1, 2, -1],
        [-1, -1, -1],
        [-1, 1, -1],
    ]
    assert segment_labels([LeafRun(1, (level("0", [0, 1], [[0, 0]]),), "")], 2).shape == (2, 0)


def run(
    root: Path, objective: dict[str, object], watch: Watch | None = None
) -> tuple[api.RunOutcome, list[Manifest], Path]:
    config = load_config(None, [*TINY, QUANTILES, f"final.objective={json.dumps(objective)}"])
    folder = create_run(config, "tiny", root, "tiny") if not (root / "tiny").exists() else None
    folder = folder or RunFolder(root / "tiny")
    outcome = api.execute(api.prepare(folder), watch or Watch(), api.InProcess())
    final_manifests = sorted((name, content) for name, content in manifests(folder.path).items() if "final" in name)
    return outcome, [Manifest.from_bytes(content) for _, content in final_manifests], folder.path


@pytest.mark.slow
@pytest.mark.parametrize(("name", "term"), [("adagvae", "shared"), ("ssdgm", "label_nll")], ids=["pairs", "labels"])
def test_the_final_objective_learns_from_what_was_found(tmp_path: Path, name: str, term: str) -> None:
    outcome, final, folder = run(tmp_path, {"name": name, "latents": 5, "batch_size": 32})
    assert outcome.model is not None
    assert outcome.model.name == name == LatentModel.load(folder / "model").name
    for record in final[-1].members:
        assert (record.status, record.objective) == ("ok", name)
        assert all(losses[term] > 0 for losses in record.losses)
    rows = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    (supervision,) = [row for row in rows if row["event"] == "weak_supervision"]
    assert supervision["objective"] == name
    assert supervision["labels"] >= 1


@pytest.mark.slow
def test_a_crash_in_the_final_round_changes_nothing(tmp_path: Path) -> None:
    objective = {"name": "adagvae", "latents": 4, "batch_size": 32}
    whole, undisturbed, _ = run(tmp_path / "whole", objective)

    class FinalCrash(Watch):
        def notify(self, event: Event) -> None:
            if event == Phase("final", 1, "scored"):
                raise Crash

    with pytest.raises(Crash):
        run(tmp_path / "crashed", objective, FinalCrash())
    again, resumed, _ = run(tmp_path / "crashed", objective)
    assert resumed == undisturbed
    assert whole.model is not None
    assert again.model is not None
