"""Scores on held-out images, and the intervals of the scores that a run chose its models by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pbt_disent.config import load_config
from pbt_disent.metrics import leaf_runs_mig
from pbt_disent.models import LatentModel, build
from pbt_disent.population.engine import Best, PopulationResult
from pbt_disent.rounds import evaluation
from pbt_disent.rounds.evaluation import score_held_out
from pbt_disent.rounds.method import RunResult
from pbt_disent.rounds.recursion import LeafLevel, LeafRun
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.checkpoint import dump
from tests.objectives import options_of

SHAPE = (1, 16, 16)


def checkpoint(seed: int, latents: int) -> bytes:
    options = options_of("betatcvae", SHAPE, latents=latents, network={"width": 4})
    model = build(options, options.defaults, SHAPE, 60, generator=torch.Generator().manual_seed(seed))
    return dump(model, model.optimizers(), 1)


def result(blobs: BlobStore, latents: int) -> RunResult:
    digests = tuple(blobs.put(checkpoint(seed, latents)) for seed in range(2))
    best = Best(0, 0, 0, 0.5, digests[0], (1.0,) * latents, {}, digests)
    first, last = (PopulationResult(path, "converged", best, 1, 100) for path in ("0", "final"))
    return RunResult(first, (), last, 200)


@pytest.mark.parametrize(("images", "latents", "scored"), [(60, 3, True), (25, 26, False)])
def test_what_more_latents_than_images_leave_to_score(tmp_path: Path, images: int, latents: int, scored: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (images, *SHAPE), dtype=np.uint8)
    blobs = BlobStore(tmp_path)
    config = load_config(None, ["population.fitness.information_threshold=0", "rounds.information_threshold=1e-9"])
    scores = score_held_out(config, result(blobs, latents), blobs, pixels, np.arange(images))
    assert scores is not None
    assert scores["num_images"] == images
    assert scores["error"] > 0
    assert (scores["udr"] is not None) == scored
    assert (scores["leaf_mig"] is not None) == scored


def test_a_few_images_are_not_scored(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    pixels = np.zeros((30, *SHAPE), dtype=np.uint8)
    assert score_held_out(load_config(None, []), result(blobs, 3), blobs, pixels, np.arange(19)) is None
    assert score_held_out(load_config(None, []), result(blobs, 3), blobs, pixels, None) is None


IMAGES, POINTS = 300, 100


def test_the_images_of_the_final_round_give_its_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (IMAGES, *SHAPE), dtype=np.uint8)
    values, none = rng.normal(size=(IMAGES, 2)), np.zeros((IMAGES, 2))
    blobs = BlobStore(tmp_path)
    config = load_config(None, [f"final.fitness.points={POINTS}", "seed=5"])
    level = LeafLevel("0", np.arange(IMAGES), (0, 1), values, none.astype(np.int64), none, "")
    run = replace(result(blobs, 3), leaf_runs=(LeafRun(1, (level,), "ended"),))
    statistics: list[float] = []

    def watch(score: float, statistic: Any, sizes: list[int], **_: object) -> None:
        assert sizes == [POINTS]
        statistics.append(statistic([np.arange(POINTS)], 0))

    monkeypatch.setattr(evaluation, "interval_over_points", watch)
    evaluation._interval_of_final(config, run, blobs, images)
    drawn = np.sort(Streams(5).generator("final", 1, "0").choice(IMAGES, size=POINTS, replace=False))
    codes = LatentModel.from_checkpoint(checkpoint(0, 3)).encode(images[drawn])
    assert statistics == [float(leaf_runs_mig([[(codes, values[drawn])]], bins=config.final.fitness.bins).score)]
