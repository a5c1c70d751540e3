from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pbt_disent.rounds.labels import write_labels
from pbt_disent.rounds.recursion import LeafLevel, LeafRun


def level(path: str, images: list[int], latents: tuple[int, ...], values: list[list[float]], segment: int) -> LeafLevel:
    table = np.array(values)
    segments = np.full(table.shape, segment)
    return LeafLevel(path, np.array(images), latents, table, segments, np.full(table.shape, 0.75), "digest")


def test_the_table_says_what_every_level_found(tmp_path: Path) -> None:
    first = level("0", [0, 1, 2, 3], (1, 3), [[0, 1], [2, 3], [4, 5], [6, 7]], 0)
    second = level("0/leaf1/1", [1, 3], (0,), [[0.5], [0.25]], 2)
    path = tmp_path / "labels" / "labels.parquet"
    factors = {("0", 1): 0, ("0", 3): 1, ("0/leaf1/1", 0): 1}
    write_labels([LeafRun(1, (first, second), "the end"), LeafRun(2, (first,), "the end")], factors, path)
    table = pq.read_table(path)
    assert table.schema.metadata[b"pbt_disent.labels"] == b"2"
    frame = table.to_pandas()
    assert list(frame.columns) == [
        *("image", "leaf", "round", "level", "latent", "value", "segment", "confidence", "factor"),
    ]
    assert len(frame) == 4 * 2 + 2 + 4 * 2
    deep = frame[(frame["leaf"] == 1) & (frame["level"] == 1)]
    assert deep["image"].tolist() == [1, 3]
    assert deep["value"].tolist() == [0.5, 0.25]
    assert deep["segment"].tolist() == [2, 2]
    assert deep["confidence"].tolist() == [0.75, 0.75]
    assert deep["factor"].tolist() == [1, 1]
    assert deep["round"].astype(str).tolist() == ["0/leaf1/1"] * 2
    top = frame[(frame["leaf"] == 1) & (frame["latent"] == 3)]
    assert top["value"].tolist() == [1, 3, 5, 7]
    assert set(top["factor"]) == {1}


def test_no_leaf_is_an_empty_table_and_equal_leaves_are_equal_bytes(tmp_path: Path) -> None:
    write_labels([], {}, tmp_path / "a")
    assert len(pq.read_table(tmp_path / "a")) == 0
    for name in ("b", "c"):
        write_labels([LeafRun(1, (level("0", [0, 1, 2], (0,), [[0], [1], [2]], 0),), "x")], {}, tmp_path / name)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
