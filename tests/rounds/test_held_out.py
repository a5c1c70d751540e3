"""Scores on held-out images: of what can be scored, and none where images are too few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pbt_disent.config import ObjectiveConfig, load_config
from pbt_disent.models import build, resolve
from pbt_disent.population.engine import Best, PopulationResult
from pbt_disent.rounds.held_out import score_held_out
from pbt_disent.rounds.method import Result
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.checkpoint import dump

SHAPE = (1, 16, 16)


def checkpoint(seed: int, latents: int) -> bytes:
    chosen = resolve(ObjectiveConfig(name="betatcvae", latents=latents, network_width=4), SHAPE)
    values = chosen.complete({key: declared.default for key, declared in chosen.space.items()})
    generator = torch.Generator().manual_seed(seed)
    one = build(chosen.name, chosen.settings, values, SHAPE, 60, generator=generator)
    return dump("betatcvae", one, one.optimizers(), 1)


def result(blobs: BlobStore, latents: int) -> Result:
    digests = tuple(blobs.put(checkpoint(seed, latents)) for seed in range(2))
    best = Best(0, 0, 0, 0.5, digests[0], (1.0,) * latents, {}, digests)
    first, last = (PopulationResult(path, "converged", best, 1, 100) for path in ("0", "final"))
    return Result(first, (), last, 200)


@pytest.mark.parametrize(("images", "latents", "scored"), [(60, 3, True), (25, 26, False)])
def test_what_more_latents_than_images_leave_to_score(tmp_path: Path, images: int, latents: int, scored: bool) -> None:
    seen = np.random.default_rng(0).integers(0, 255, (images, *SHAPE), dtype=np.uint8)
    blobs = BlobStore(tmp_path)
    config = load_config(None, ["udr.information_threshold=0", "rounds.information_threshold=1e-9"])
    found = score_held_out(config, result(blobs, latents), blobs, seen, np.arange(images))
    assert found is not None
    assert found["images"] == images
    assert found["error"] > 0
    assert (found["udr"] is not None) == scored
    assert (found["leaf_mig"] is not None) == scored


def test_a_few_images_are_not_scored(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    seen = np.zeros((30, *SHAPE), dtype=np.uint8)
    assert score_held_out(load_config(None, []), result(blobs, 3), blobs, seen, np.arange(19)) is None
    assert score_held_out(load_config(None, []), result(blobs, 3), blobs, seen, None) is None
