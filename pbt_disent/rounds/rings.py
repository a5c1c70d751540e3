"""Latents that hold a circular factor in pairs: the codes lie on a ring, and the angle says what two latents say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pbt_disent.types import FloatArray

__all__ = ["angle", "find_rings"]

ROUNDNESS = 0.15
"""The radius varies by at most this share of its mean."""
WIDEST_GAP = np.pi / 6
"""Between neighbouring angles; the corners of a square are further apart."""


def find_rings(codes: FloatArray, latents: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs of latents whose codes lie on a ring, each latent in one pair at most, the roundest first.

    Args:
        codes: (N, Z) posterior means.
        latents: which of them to look at.
    """
    found = []
    for first, second in itertools.combinations(latents, 2):
        x, y = _standard(codes[:, first]), _standard(codes[:, second])
        radius = np.hypot(x, y)
        spread = float(radius.std() / radius.mean()) if radius.mean() > 0 else np.inf
        turns = np.sort(np.arctan2(y, x))
        gap = float(np.diff(turns, append=turns[0] + 2 * np.pi).max())
        if spread <= ROUNDNESS and gap <= WIDEST_GAP:
            found.append((spread, first, second))
    pairs: list[tuple[int, int]] = []
    for _, first, second in sorted(found):
        if not any({first, second} & set(pair) for pair in pairs):
            pairs.append((first, second))
    return pairs


def angle(codes: FloatArray, pair: tuple[int, int], noise: FloatArray) -> tuple[FloatArray, float]:
    """Return the angles (N,) of a pair's codes, cut open at their widest gap, and their noise, in radians.

    Args:
        codes: (N, Z) posterior means.
        pair: two latents on a ring.
        noise: (Z,) standard deviation of the encoder's noise in each latent.
    """
    first, second = pair
    turns = np.arctan2(_standard(codes[:, second]), _standard(codes[:, first]))
    ordered = np.sort(turns)
    widest = int(np.diff(ordered, append=ordered[0] + 2 * np.pi).argmax())
    start = ordered[(widest + 1) % len(ordered)]
    scale = np.mean([noise[latent] / max(float(codes[:, latent].std()), 1e-12) for latent in pair])
    return np.mod(turns - start, 2 * np.pi), float(scale / np.sqrt(2))


def _standard(values: FloatArray) -> FloatArray:
    centred = values - (values.max() + values.min()) / 2
    return np.asarray(centred / max(float(values.std()), 1e-12), dtype=np.float64)
