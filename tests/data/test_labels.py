"""Labels from tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pbt_disent.data import UNKNOWN, load, select, with_labels
from pbt_disent.data.base import ImageData
from pbt_disent.errors import UserError

GRID = {"shape": 3, "scale": 3, "orientation": 1, "x": 8, "y": 8}


@pytest.fixture
def sprites() -> ImageData:
    return load("sprites", size=8, grid=GRID)


def everything(data: ImageData) -> np.ndarray:
    ids = data.factors(np.arange(len(data)))
    assert ids is not None
    return ids


def save(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_complete_labels_are_numbered_in_their_order(sprites: ImageData, tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    level = rng.choice([10, 2, -3], len(sprites))
    colour = rng.choice(["red", "blue"], len(sprites))
    path = save(pd.DataFrame({"level": level, "colour": colour}), tmp_path / name)
    labelled = with_labels(sprites, path)
    assert labelled.factor_names == ("level", "colour")
    assert labelled.factor_sizes == (3, 2)
    ids = labelled.factors([3, 1])
    np.testing.assert_array_equal(ids[:, 0], np.searchsorted([-3, 2, 10], level[[3, 1]]))
    np.testing.assert_array_equal(ids[:, 1], np.searchsorted(["blue", "red"], colour[[3, 1]]))
    np.testing.assert_array_equal(labelled.images([3]), sprites.images([3]))
    assert labelled.fingerprint == sprites.fingerprint
    assert with_labels(sprites, path, ["colour"]).factor_names == ("colour",)


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_partial_labels_leave_the_rest_unknown(sprites: ImageData, tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"index": [7, 2, 5], "a": [1.5, None, 0.5], "b": ["x", "y", None]})
    labelled = load("sprites", size=8, grid=GRID, labels=save(frame, tmp_path / name))
    assert labelled.factor_sizes == (2, 2)
    np.testing.assert_array_equal(labelled.factors([7, 2, 5]), [[1, 0], [UNKNOWN, 1], [0, UNKNOWN]])
    assert (everything(labelled) == UNKNOWN).sum() == 2 * len(sprites) - 4
    kept = select(labelled, "a >= 0")
    np.testing.assert_array_equal(np.sort(kept.indices), [5, 7])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, 2, 3]}, "are 3 for 576 images"),
        ({"index": [0, 576], "a": [1, 2]}, "outside 0 to 575"),
        ({"index": [4, 4], "a": [1, 2]}, "an image twice"),
        ({"index": [4.5, 1], "a": [1, 2]}, "whole numbers"),
        ({"index": [4, 1]}, "no column of labels"),
        ({"index": [4, 1], "a": [None, None]}, "is empty"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    sprites: ImageData, tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        with_labels(sprites, save(pd.DataFrame(columns), tmp_path / "labels.csv"))


def test_unreadable_labels_are_refused(sprites: ImageData, tmp_path: Path) -> None:
    (tmp_path / "labels.parquet").write_bytes(b"PAR1")
    for name in ("labels.parquet", "missing.csv"):
        with pytest.raises(UserError, match="cannot be read"):
            with_labels(sprites, tmp_path / name)
    with pytest.raises(UserError, match="did you mean 'colour'"):
        with_labels(sprites, save(pd.DataFrame({"index": [1], "colour": [1]}), tmp_path / "l.csv"), ["color"])


def test_pictures_are_labelled_by_name(tmp_path: Path) -> None:
    from PIL import Image

    for name in "abc":
        Image.new("L", (8, 8), ord(name)).save(tmp_path / f"{name}.png")
    path = save(pd.DataFrame({"kind": ["last", "first"], "file": ["c.png", "a.png"]}), tmp_path / "labels.csv")
    labelled = load(tmp_path, labels=path)
    np.testing.assert_array_equal(labelled.factors([0, 1, 2]), [[0], [UNKNOWN], [1]])
    path = save(pd.DataFrame({"kind": ["last"], "file": ["d.png"]}), tmp_path / "labels.csv")
    with pytest.raises(UserError, match=r"'d.png' in .*belongs to no picture"):
        load(tmp_path, labels=path)
    path = save(pd.DataFrame({"kind": ["last", "first"], "file": ["a.png", None]}), tmp_path / "labels.csv")
    with pytest.raises(UserError, match=r"label of None in .*belongs to no picture"):
        load(tmp_path, labels=path)
