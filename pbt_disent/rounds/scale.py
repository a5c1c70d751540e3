"""How the codes of any image become segments: of one latent, or of the angle of two latents on a ring.

A scale holds the edges of segments, so that they apply to other images too. Latents that hold a circular factor in
pairs have codes on a ring, and the angle says what the two say together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.special import ndtr

from pbt_disent.rounds.segmentation import Segment
from pbt_disent.types import FloatArray, IntArray, Json

__all__ = ["Ring", "SegmentEdges", "find_rings"]

ROUNDNESS = 0.15
"""The radius varies by at most this share of its mean."""
WIDEST_GAP = np.pi / 6
"""Between neighbouring angles; the corners of a square are further apart."""


def find_rings(codes: FloatArray, latents: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs of latents whose codes lie on a ring, each latent in one pair at most, the roundest first.

    Args:
        codes: The posterior means, an array of shape (N, Z).
        latents: The latents to search among.
    """
    candidates = []
    for first, second in itertools.combinations(latents, 2):
        x, y = _standard(codes[:, first]), _standard(codes[:, second])
        radius = np.hypot(x, y)
        spread = float(radius.std() / radius.mean()) if radius.mean() > 0 else np.inf
        angles = np.sort(np.arctan2(y, x))
        gap = float(np.diff(angles, append=angles[0] + 2 * np.pi).max())
        if spread <= ROUNDNESS and gap <= WIDEST_GAP:
            candidates.append((spread, first, second))
    pairs: list[tuple[int, int]] = []
    for _, first, second in sorted(candidates):
        if not any({first, second} & set(pair) for pair in pairs):
            pairs.append((first, second))
    return pairs


@dataclass(frozen=True)
class Ring:
    """Two latents whose codes lie on a ring, and where that is cut open.

    Args:
        latents: The pair.
        centre: The centre of the ring, in codes.
        spread: The standard deviation of the codes in each latent.
        start: The angle in radians at which the ring is cut open, the end of its widest gap.
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
        first, second = (max(float(side.std()), 1e-12) for side in sides)
        closed = cls(pair, (low, high), (first, second), 0.0)
        ordered = np.sort(closed._polar(codes))
        widest = int(np.diff(ordered, append=ordered[0] + 2 * np.pi).argmax())
        return replace(closed, start=float(ordered[(widest + 1) % len(ordered)]))

    def angle(self, codes: FloatArray) -> FloatArray:
        """Return the angles (N,) of codes (N, Z), from 0 at the start to 2 pi."""
        return np.asarray(np.mod(self._polar(codes) - self.start, 2 * np.pi), dtype=np.float64)

    def noise(self, noise: FloatArray) -> float:
        """Return the noise of the angle, in radians, from that of each latent (Z,)."""
        shares = [noise[latent] / spread for latent, spread in zip(self.latents, self.spread, strict=True)]
        return float(np.mean(shares) / np.sqrt(2))

    def _polar(self, codes: FloatArray) -> FloatArray:
        x, y = (
            (codes[:, latent] - centre) / spread
            for latent, centre, spread in zip(self.latents, self.centre, self.spread, strict=True)
        )
        return np.asarray(np.arctan2(y, x), dtype=np.float64)


def _standard(values: FloatArray) -> FloatArray:
    centred = values - (values.max() + values.min()) / 2
    return np.asarray(centred / max(float(values.std()), 1e-12), dtype=np.float64)


@dataclass(frozen=True)
class SegmentEdges:
    """The segments of one latent, or of the angle of two that lie on a ring.

    Args:
        latents: The one or two latents.
        edges: The edges of the segments, ascending, one more than there are segments; infinite where the first or last
            segment has no end.
        noise: The standard deviation of the encoder's noise in the codes, or in the angle.
        ring: The ring that two latents lie on, or None for one latent.
    """

    latents: tuple[int, ...]
    edges: tuple[float, ...]
    noise: float
    ring: Ring | None = None

    @classmethod
    def of(
        cls, latents: tuple[int, ...], values: FloatArray, segments: Sequence[Segment], noise: float, ring: Ring | None
    ) -> SegmentEdges:
        """Return the scale of segments that follow each other, with edges in the middle of the gaps between them.

        Args:
            latents: The latents that were cut.
            values: The codes of the latent, or the angles of two, an array of shape (N,).
            segments: The segments, in any order.
            noise: The standard deviation of the noise of the values.
            ring: The ring of the latents, if they are two.
        """
        ordered = sorted(segments, key=lambda segment: segment.low)
        below, above = values[values < ordered[0].low], values[values > ordered[-1].high]
        inner = [(left.high + right.low) / 2 for left, right in itertools.pairwise(ordered)]
        first = (float(below.max()) + ordered[0].low) / 2 if len(below) else -np.inf
        last = (float(above.min()) + ordered[-1].high) / 2 if len(above) else np.inf
        return cls(latents, (first, *inner, last), noise, ring)

    def assign(self, codes: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the segment (N,) of each image, -1 for none, and the confidence in it (N,), from codes (N, Z).

        The confidence is the probability that a draw from the posterior lies in the same segment; 0 where there is
        none.
        """
        values = codes[:, self.latents[0]].astype(np.float64) if self.ring is None else self.ring.angle(codes)
        edges = np.asarray(self.edges)
        segments = np.searchsorted(edges, values, side="right") - 1
        segments[(segments < 0) | (segments >= len(edges) - 1)] = -1
        noise = max(self.noise, 1e-12)
        inside = ndtr((edges[segments + 1] - values) / noise) - ndtr((edges[segments] - values) / noise)
        return segments, np.where(segments >= 0, inside, 0.0)

    def to_json(self) -> Json:
        """Return the scale as plain values; infinite edges are None."""
        edges = [float(edge) if np.isfinite(edge) else None for edge in self.edges]
        return {
            "latents": list(self.latents),
            "edges": edges,
            "noise": self.noise,
            "ring": None if self.ring is None else asdict(self.ring),
        }

    @classmethod
    def from_json(cls, document: Json) -> SegmentEdges:
        """Return the scale that `to_json` described."""
        ends = (-np.inf, *[0.0] * (len(document["edges"]) - 2), np.inf)
        edges = tuple(end if edge is None else edge for edge, end in zip(document["edges"], ends, strict=True))
        ring = document["ring"]
        if ring is not None:
            ring = Ring(tuple(ring["latents"]), tuple(ring["centre"]), tuple(ring["spread"]), ring["start"])
        return cls(tuple(document["latents"]), edges, document["noise"], ring)
