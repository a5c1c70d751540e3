"""A circular factor in two latents: its ring is found, cut open at the widest gap, and cut into its levels."""

from __future__ import annotations

import numpy as np
import pytest

from pbt_disent.config import SegmentationConfig
from pbt_disent.rounds.rings import Ring, find_rings
from pbt_disent.rounds.segmentation import segment
from pbt_disent.rounds.subset import cut_subset

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
    found = Ring.of(codes, (1, 3))
    turns, noise = found.angle(codes), found.noise(np.array([0.05, 0.04, 1, 0.02]))
    assert 0.01 < noise < 0.04
    segments = segment(turns, noise, SegmentationConfig(method=method), several=True)
    assert len(segments) >= (LEVELS if method == "density" else LEVELS - 4)
    assert all(len(np.unique(level[item.members])) == 1 for item in segments)


def test_a_subset_freezes_the_circular_factor() -> None:
    codes, level = ring(0.02)
    config = SegmentationConfig(method="density", rings=True, min_images=5)
    noise = np.array([0.05, 0.04, 1, 0.02])
    cut = cut_subset(codes, noise, [0, 1, 3], config, choice=0)
    assert cut.reason is None
    assert len(np.unique(level[cut.subset])) == 1
    assert len(np.unique(np.rint(codes[cut.subset, 0]))) == 1
    assert set(cut.frozen) == {0, 1, 3}
    np.testing.assert_array_equal(cut.segments[:, 1], cut.segments[:, 3])
