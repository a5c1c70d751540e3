"""The interval of a score is taken over the very images that gave the score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pbt_disent.config import load_config
from pbt_disent.metrics import leaf_runs_mig
from pbt_disent.models import LatentModel
from pbt_disent.rounds import chosen
from pbt_disent.rounds.recursion import Leaf, Level
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from tests.rounds.test_held_out import SHAPE, checkpoint, result

IMAGES, POINTS = 300, 100


def test_the_images_of_the_final_round_give_its_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (IMAGES, *SHAPE), dtype=np.uint8)
    values, none = rng.normal(size=(IMAGES, 2)), np.zeros((IMAGES, 2))
    blobs = BlobStore(tmp_path)
    config = load_config(None, [f"final.points={POINTS}", "seed=5"])
    level = Level("0", np.arange(IMAGES), (0, 1), values, none.astype(np.int64), none, "")
    run = replace(result(blobs, 3), leaves=(Leaf(1, (level,), "ended"),))
    seen: list[float] = []

    def watch(score: float, statistic: Any, sizes: list[int], **_: object) -> None:
        assert sizes == [POINTS]
        seen.append(statistic([np.arange(POINTS)], 0))

    monkeypatch.setattr(chosen, "interval_over_points", watch)
    chosen._of_final(config, run, blobs, images)
    drawn = np.sort(Streams(5).generator("final", 1, "0").choice(IMAGES, size=POINTS, replace=False))
    codes = LatentModel.from_checkpoint(checkpoint(0, 3)).encode(images[drawn])
    assert seen == [float(leaf_runs_mig([[(codes, values[drawn])]], bins=config.final.bins).score)]
