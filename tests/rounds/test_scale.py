"""Scales give back the segments that they were made of; a ring of two latents is found, cut open and cut up."""

from __future__ import annotations

import numpy as np
import pytest

from pbt_disent.config import RoundsConfig
from pbt_disent.rounds.scale import Ring, Scale, find_rings
from pbt_disent.rounds.segmentation import SEGMENTATIONS
from pbt_disent.rounds.subset import choose_subset

LEVELS = 16


def ring(noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return codes (N, 4): a factor of 16 levels on an ellipse in latents 1 and 3, another one in 0; and its levels."""
    rng = np.random.default_rng(seed)
    level = rng.permutation(np.repeat(np.arange(LEVELS), 60))
    turn = 2 * np.pi * level / LEVELS
    other = np.tile(np.arange(4), len(level) // 4)
    codes = np.column_stack([other, 1 + 2 * np.cos(turn), np.zeros(len(level)), np.sin(turn) - 3])
    scale = np.array([0.05, 2 * noise, 1, noise])
    return codes + scale * np.clip(rng.standard_normal(codes.shape), -3, 3), level


def test_a_ring_is_found_and_nothing_else() -> None:
    codes, _ = ring(0.02)
    assert find_rings(codes, [0, 1, 2, 3]) == [(1, 3)]
    rng = np.random.default_rng(1)
    for other in (
        rng.standard_normal((900, 3)),
        rng.uniform(size=(900, 3)),
        rng.integers(2, size=(900, 3)) + 0.01 * rng.standard_normal((900, 3)),
        np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3).astype(float),
    ):
        assert find_rings(other, [0, 1, 2]) == []


@pytest.mark.parametrize("method", ["density", "gaps"])
def test_the_angle_has_the_levels(method: str) -> None:
    codes, level = ring(0.02)
    circle = Ring.of(codes, (1, 3))
    turns, noise = circle.angle(codes), circle.noise(np.array([0.05, 0.04, 1, 0.02]))
    assert 0.01 < noise < 0.04
    segments = SEGMENTATIONS[method]().segment(turns, noise, several=True)
    assert len(segments) >= (LEVELS if method == "density" else LEVELS - 4)
    assert all(len(np.unique(level[item.members])) == 1 for item in segments)


def test_a_subset_freezes_the_circular_factor() -> None:
    codes, level = ring(0.02)
    config = RoundsConfig(segmentation="density", rings=True, min_subset_images=5)
    noise = np.array([0.05, 0.04, 1, 0.02])
    cut = choose_subset(codes, noise, [0, 1, 3], config, rank=0)
    assert cut.reason is None
    assert len(np.unique(level[cut.subset])) == 1
    assert len(np.unique(np.rint(codes[cut.subset, 0]))) == 1
    assert set(cut.frozen) == {0, 1, 3}
    np.testing.assert_array_equal(cut.segments[:, 1], cut.segments[:, 3])


@pytest.mark.parametrize("method", ["gaps", "density"])
def test_a_scale_assigns_the_segments_that_it_was_made_of(method: str) -> None:
    rng = np.random.default_rng(0)
    level = rng.integers(8, size=4000)
    codes = (level + 0.05 * rng.standard_normal(4000)).reshape(-1, 1)
    cut = SEGMENTATIONS[method]().segment(codes[:, 0], 0.05, several=True)
    scale = Scale.of((0,), codes[:, 0], cut, 0.05, None)
    segments, confidence = scale.assign(codes)
    inner = {item.low: item for item in cut}
    for number, low in enumerate(sorted(inner)):
        assert np.array_equal(np.flatnonzero(segments == number), inner[low].members)
    assert np.all(confidence[segments >= 0] > 0.99)
    assert np.all(confidence[segments < 0] == 0)
    assert (segments.min() == -1) == (method == "gaps")
    between, unsure = scale.assign(np.array([[3.5], [3.52]]))
    assert abs(unsure - 0.5).max() < 0.2
    assert len(set(between)) <= 2
    assert Scale.from_json(scale.to_json()) == scale


def test_a_ring_is_assigned_by_its_angle() -> None:
    turn = np.linspace(0, 2 * np.pi, 600, endpoint=False)
    codes = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    ring = Ring.of(codes, (0, 1))
    scale = Scale((0, 1), (-np.inf, 2.0, 4.0, np.inf), 0.01, ring)
    segments, _ = scale.assign(codes)
    assert sorted(np.unique(segments)) == [0, 1, 2]
    assert Scale.from_json(scale.to_json()) == scale
