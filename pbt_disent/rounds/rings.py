"""Latents that hold a circular factor in pairs: the codes lie on a ring, and the angle says what two latents say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pbt_disent.types import FloatArray

__all__ = ["Ring", "find_rings"]

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


@dataclass(frozen=True)
class Ring:
    """Two latents whose codes lie on a ring, and where that is cut open.

    Args:
        latents: the pair.
        centre: of the ring, in codes.
        spread: standard deviation of the codes in each latent.
        start: angle (radians) at which the ring is cut open, the end of its widest gap.
    """

    latents: tuple[int, int]
    centre: tuple[float, float]
    spread: tuple[float, float]
    start: float

    @classmethod
    def of(cls, codes: FloatArray, pair: tuple[int, int]) -> Ring:
        """Return the ring of a pair of latents of codes (N, Z)."""
        sides = [codes[:, latent] for latent in pair]
        low, high = ((float(side.max() + side.min()) / 2) for side in sides)
        one, other = (max(float(side.std()), 1e-12) for side in sides)
        closed = cls(pair, (low, high), (one, other), 0.0)
        ordered = np.sort(closed._turns(codes))
        widest = int(np.diff(ordered, append=ordered[0] + 2 * np.pi).argmax())
        return replace(closed, start=float(ordered[(widest + 1) % len(ordered)]))

    def angle(self, codes: FloatArray) -> FloatArray:
        """Return the angles (N,) of codes (N, Z), from 0 at the start to 2 pi."""
        return np.asarray(np.mod(self._turns(codes) - self.start, 2 * np.pi), dtype=np.float64)

    def noise(self, noise: FloatArray) -> float:
        """Return the noise of the angle, in radians, from that of each latent (Z,)."""
        shares = [noise[latent] / spread for latent, spread in zip(self.latents, self.spread, strict=True)]
        return float(np.mean(shares) / np.sqrt(2))

    def _turns(self, codes: FloatArray) -> FloatArray:
        x, y = (
            (codes[:, latent] - centre) / spread
            for latent, centre, spread in zip(self.latents, self.centre, self.spread, strict=True)
        )
        return np.asarray(np.arctan2(y, x), dtype=np.float64)


def _standard(values: FloatArray) -> FloatArray:
    centred = values - (values.max() + values.min()) / 2
    return np.asarray(centred / max(float(values.std()), 1e-12), dtype=np.float64)
