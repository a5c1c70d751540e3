"""Choose the subset in which the learned latents are constant: one cell of the grid that their segments make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pbt_disent.config import SegmentationConfig
from pbt_disent.rounds.rings import Ring, find_rings
from pbt_disent.rounds.scale import Scale
from pbt_disent.rounds.segmentation import Segment, segment
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Cut", "cut_subset"]


@dataclass(frozen=True)
class Cut:
    """How a set was cut.

    Args:
        subset: positions of the chosen images in the codes, ascending; empty where nothing could be cut.
        frozen: for each latent that was cut, the code interval (low, high) of the chosen segment.
        segments: (N, Z) which segment of each latent an image is in, counted along the latent; -1 for none.
        confidence: (N, Z) how sure that is: the probability that a draw from the posterior lies in the same segment.
        scales: what was cut, to be applied to other images.
        cell: the number of the chosen segment of each scale.
        reason: why no subset was chosen; none when one was.
    """

    subset: IntArray
    frozen: dict[int, tuple[float, float]]
    segments: IntArray
    confidence: FloatArray
    scales: tuple[Scale, ...]
    cell: tuple[int, ...]
    reason: str | None


def cut_subset(
    codes: FloatArray,
    noise: FloatArray,
    learned: Sequence[int],
    config: SegmentationConfig,
    *,
    choice: int,
    least: int = 0,
) -> Cut:
    """Cut every learned latent into segments and choose one cell of their product.

    Several latents: of each its best `max_segments`; the cells with more than `min_cell` images are ranked by how
    close their size is to the median cell. One latent: its segments are ranked by how clean they are. A latent without
    a boundary is left out (Estermann et al. 2020 end the leaf run there).

    Args:
        codes: (N, Z) posterior means.
        noise: (Z,) standard deviation of the encoder's noise in each latent.
        learned: the latents to freeze.
        config: constants of the segmentation.
        choice: which candidate to take, from 0; leaf runs differ in it.
        least: the fewest images that a population on the subset can be ranked by.
    """
    cuts, scales = _segments_by_latent(codes, noise, learned, config)
    ids, sure = np.full(codes.shape, -1, dtype=np.int64), np.zeros(codes.shape)
    for scale in scales:
        for latent in scale.latents:
            ids[:, latent], sure[:, latent] = scale.read(codes)

    def found(members: IntArray, reason: str | None) -> Cut:
        latents = [latent for scale in scales for latent in scale.latents] if reason is None else []
        frozen = {each: (float(codes[members, each].min()), float(codes[members, each].max())) for each in latents}
        cell = tuple(int(ids[members[0], scale.latents[0]]) for scale in scales) if reason is None else ()
        return Cut(members, frozen, ids, sure, scales, cell, reason)

    nothing = np.empty(0, dtype=np.int64)
    if not cuts:
        return found(nothing, "no learned latent has a boundary")
    cells = _ranked_cells(cuts, len(codes), config)
    if choice >= len(cells):
        return found(nothing, f"only {len(cells)} candidate subsets")
    members = cells[choice]
    if len(members) < max(config.min_images, least):
        return found(nothing, f"the subset has only {len(members)} images")
    return found(members, None)


def _segments_by_latent(
    codes: FloatArray, noise: FloatArray, learned: Sequence[int], config: SegmentationConfig
) -> tuple[list[list[Segment]], tuple[Scale, ...]]:
    """Cut each learned latent, or the angle of two on a ring; return the segments of what was cut, and scales."""
    rings = [Ring.of(codes, pair) for pair in find_rings(codes, learned)] if config.rings else []
    parts: list[tuple[tuple[int, ...], FloatArray, float, Ring | None]] = [
        ((latent,), codes[:, latent], float(noise[latent]), None)
        for latent in learned
        if not any(latent in ring.latents for ring in rings)
    ]
    parts += [(ring.latents, ring.angle(codes), ring.noise(noise), ring) for ring in rings]
    found = [(part, cut) for part in parts if (cut := segment(part[1], part[2], config, several=True))]
    if len(found) == 1 and not rings:
        ((part, cut),) = found
        found = [(part, segment(part[1], part[2], config, several=False) or cut)]
    scales = [Scale.of(latents, places, cut, width, ring) for (latents, places, width, ring), cut in found]
    return [cut for _, cut in found], tuple(scales)


def _ranked_cells(cuts: Sequence[list[Segment]], size: int, config: SegmentationConfig) -> list[IntArray]:
    """Return the candidate subsets, best first, by giving every image one integer cell number."""
    if len(cuts) == 1:
        (segments,) = cuts
        return [item.members for item in segments]
    cell = np.zeros(size, dtype=np.int64)
    inside = np.ones(size, dtype=bool)
    for segments in cuts:
        kept = np.full(size, -1, dtype=np.int64)
        for number, item in enumerate(segments[: config.max_segments]):
            kept[item.members] = number
        inside &= kept >= 0
        cell = cell * config.max_segments + np.maximum(kept, 0)
    positions = np.flatnonzero(inside)
    names, inverse, counts = np.unique(cell[positions], return_inverse=True, return_counts=True)
    large = np.flatnonzero(counts > config.min_cell)
    if len(large) == 0:
        return []
    middle = float(np.median(counts[large]))
    ranked = sorted(large, key=lambda index: (abs(counts[index] - middle), names[index]))
    return [positions[inverse == index] for index in ranked]
