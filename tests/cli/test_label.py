"""`pbt-disent label RUN --out FILE`: the rounds of a run label its own images as they did, and any others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pbt_disent import api
from pbt_disent.cli import main
from pbt_disent.config import load_config
from pbt_disent.errors import UserError
from pbt_disent.rounds.labels import TREE_NAME, RoundTree
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from tests.population.fakes import Watch
from tests.rounds.test_final import QUANTILES
from tests.test_pipeline import TINY


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = create_run(load_config(None, [*TINY, QUANTILES]), "tiny", tmp_path_factory.mktemp("runs"), None)
    api.execute(api.prepare(folder), Watch(), api.InProcess())
    return folder


def test_a_run_labels_its_own_images_as_it_did(finished: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "labels.parquet"
    assert main(["label", str(finished.path), "--out", str(out)]) == 0
    ours, theirs = pd.read_parquet(out), pd.read_parquet(finished.labels)
    assert set(theirs["level"]) == {0, 1}
    assert theirs["factor"].min() >= 0
    assert theirs["confidence"].between(0, 1).all()
    key = ["leaf", "round", "latent", "image"]
    ours, theirs = (table.sort_values(key, ignore_index=True) for table in (ours, theirs))
    for name in (*key, "level", "segment", "factor"):
        assert (ours[name].astype(str) == theirs[name].astype(str)).all(), name
    for name in ("value", "confidence"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-4)


def test_other_images_go_down_as_far_as_they_belong(finished: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "labels.parquet"
    grid = "grid={shape: 3, scale: 1, orientation: 2, x: 3, y: 3}"
    assert (
        main(["label", str(finished.path), "--data", "sprites", "--set", "size=32", "--set", grid, "--out", str(out)])
        == 0
    )
    table = pd.read_parquet(out)
    top = table[table["level"] == 0]
    assert top.groupby("latent")["image"].nunique().eq(54).all()
    deep = table[table["level"] == 1]
    assert set(deep["image"]) < set(top["image"])


def test_what_cannot_be_labelled(finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "labels.parquet")]
    assert main(["label", str(finished.path), "--data", "rooms", *out]) == 2
    assert "of 3x64x64: must be 1x32x32" in capsys.readouterr().err
    assert main(["label", str(finished.path), "--out", str(tmp_path)]) == 2
    assert "is a folder; give the path of a file" in capsys.readouterr().err
    assert main(["label", str(finished.path), "--data", "sprites"]) == 2
    assert "labels nothing" in capsys.readouterr().err
    assert main(["label", str(finished.model), *out]) == 0
    alone = tmp_path / "model"
    alone.mkdir()
    for name in ("model.safetensors", "model.json"):
        (alone / name).write_bytes((finished.model / name).read_bytes())
    assert main(["label", str(alone), *out]) == 2
    assert "is no run" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["", "[]", '{"format": 2}', '{"format": 2, "leaves": [{}], "factors": []}'])
def test_a_damaged_tree_is_named(tmp_path: Path, damage: str) -> None:
    (tmp_path / TREE_NAME).write_text(damage)
    with pytest.raises(UserError, match=f"{TREE_NAME}: is damaged"):
        RoundTree.read(tmp_path / TREE_NAME)


def test_a_tree_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / TREE_NAME).write_text('{"format": 1, "leaves": [], "factors": []}')
    with pytest.raises(UserError, match=f"{TREE_NAME} of format 1: must have format 2; label with the version"):
        RoundTree.read(tmp_path / TREE_NAME)
