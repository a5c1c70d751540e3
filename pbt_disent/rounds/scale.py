"""How the codes of any image become segments: what a cut found, kept so that it can be applied again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import ndtr

from pbt_disent.rounds.rings import Ring
from pbt_disent.rounds.segmentation import Segment
from pbt_disent.types import FloatArray, IntArray, Json

__all__ = ["Scale"]


@dataclass(frozen=True)
class Scale:
    """The segments of one latent, or of the angle of two that lie on a ring.

    Args:
        latents: the one or two latents.
        edges: ascending, one more than there are segments; infinite where the first or last segment has no end.
        noise: standard deviation of the encoder's noise in the codes, or in the angle.
        ring: how two latents make an angle.
    """

    latents: tuple[int, ...]
    edges: tuple[float, ...]
    noise: float
    ring: Ring | None = None

    @classmethod
    def of(
        cls, latents: tuple[int, ...], places: FloatArray, segments: Sequence[Segment], noise: float, ring: Ring | None
    ) -> Scale:
        """Return the scale of segments that follow each other, with edges in the middle of the gaps between them.

        Args:
            latents: that were cut.
            places: (N,) their codes, or angles.
            segments: in any order.
            noise: of the places.
            ring: of the latents, if they are two.
        """
        ordered = sorted(segments, key=lambda item: item.low)
        below, above = places[places < ordered[0].low], places[places > ordered[-1].high]
        inner = [(one.high + other.low) / 2 for one, other in itertools.pairwise(ordered)]
        first = (float(below.max()) + ordered[0].low) / 2 if len(below) else -np.inf
        last = (float(above.min()) + ordered[-1].high) / 2 if len(above) else np.inf
        return cls(latents, (first, *inner, last), noise, ring)

    def read(self, codes: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the segment (N,) of each image, -1 for none, and how sure that is (N,), from codes (N, Z).

        The confidence is the probability that a draw from the posterior lies in the same segment; 0 where there is
        none.
        """
        places = codes[:, self.latents[0]].astype(np.float64) if self.ring is None else self.ring.angle(codes)
        edges = np.asarray(self.edges)
        found = np.searchsorted(edges, places, side="right") - 1
        found[(found < 0) | (found >= len(edges) - 1)] = -1
        noise = max(self.noise, 1e-12)
        inside = ndtr((edges[found + 1] - places) / noise) - ndtr((edges[found] - places) / noise)
        return found, np.where(found >= 0, inside, 0.0)

    def to_json(self) -> Json:
        """Return the scale as plain values; infinite edges are none."""
        edges = [float(edge) if np.isfinite(edge) else None for edge in self.edges]
        return {
            "latents": list(self.latents),
            "edges": edges,
            "noise": self.noise,
            "ring": None if self.ring is None else asdict(self.ring),
        }

    @classmethod
    def from_json(cls, given: Json) -> Scale:
        """Return the scale that `to_json` described."""
        ends = (-np.inf, *[0.0] * (len(given["edges"]) - 2), np.inf)
        edges = tuple(end if edge is None else edge for edge, end in zip(given["edges"], ends, strict=True))
        ring = given["ring"]
        if ring is not None:
            ring = Ring(tuple(ring["latents"]), tuple(ring["centre"]), tuple(ring["spread"]), ring["start"])
        return cls(tuple(given["latents"]), edges, given["noise"], ring)
