"""Choose the subset in which the learned latents are constant: one cell of the grid that their segments make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pbt_disent.config import RoundsConfig
from pbt_disent.rounds.scale import Ring, SegmentEdges, find_rings
from pbt_disent.rounds.segmentation import Segment
from pbt_disent.types import FloatArray, IntArray

__all__ = ["SubsetChoice", "choose_subset"]


@dataclass(frozen=True)
class SubsetChoice:
    """The subset that was chosen, and how all images were cut into segments.

    Args:
        subset: The positions of the subset's images in the codes, ascending; empty where nothing could be cut.
        frozen: The interval (low, high) of codes in the subset, for each latent that was cut.
        segments: The segment that each image is in, counted along the latent, an array of shape (N, Z); -1 for none.
        confidence: The probability that a draw from the image's posterior lies in that segment, of shape (N, Z).
        scales: The scales by which codes become segments; they apply to other images too.
        cell: The number of the subset's segment in each scale.
        reason: The reason why no subset was chosen, or None.
    """

    subset: IntArray
    frozen: dict[int, tuple[float, float]]
    segments: IntArray
    confidence: FloatArray
    scales: tuple[SegmentEdges, ...]
    cell: tuple[int, ...]
    reason: str | None


def choose_subset(
    codes: FloatArray,
    noise: FloatArray,
    learned: Sequence[int],
    config: RoundsConfig,
    *,
    rank: int,
    min_images: int = 0,
) -> SubsetChoice:
    """Cut every learned latent into segments and choose one cell of their product.

    Several latents: of each its best `max_segments`; the cells with more than `min_cell_images` images are ranked by
    how close their size is to the median cell. One latent: its segments are ranked by how clean they are. A latent
    without a boundary is left out (Estermann et al. 2020 end the leaf run there).

    Args:
        codes: The posterior means, an array of shape (N, Z).
        noise: The standard deviation of the encoder's noise in each latent, an array of shape (Z,).
        learned: The latents to freeze.
        config: The segmentation rule and the constants of the choice.
        rank: The rank of the candidate to take, from 0; leaf runs differ in it.
        min_images: The smallest number of images that a population on the subset can be ranked by.

    >>> codes = np.repeat([[0.0], [1.0], [2.0]], 100, axis=0) + np.random.default_rng(0).normal(0, 0.02, (300, 1))
    >>> choice = choose_subset(codes, np.array([0.1]), [0], RoundsConfig(segmentation="density"), rank=0)
    >>> len(choice.subset), choice.cell, np.bincount(choice.segments[:, 0]).tolist()
    (100, (1,), [100, 100, 100])
    """
    segments_of_scales, scales = _cut_latents(codes, noise, learned, config)
    segments, confidence = np.full(codes.shape, -1, dtype=np.int64), np.zeros(codes.shape)
    for scale in scales:
        for latent in scale.latents:
            segments[:, latent], confidence[:, latent] = scale.assign(codes)

    def choice_of(members: IntArray, reason: str | None) -> SubsetChoice:
        latents = [latent for scale in scales for latent in scale.latents] if reason is None else []
        frozen = {z: (float(codes[members, z].min()), float(codes[members, z].max())) for z in latents}
        cell = tuple(int(segments[members[0], scale.latents[0]]) for scale in scales) if reason is None else ()
        return SubsetChoice(members, frozen, segments, confidence, scales, cell, reason)

    nothing = np.empty(0, dtype=np.int64)
    if not scales:
        return choice_of(nothing, "no learned latent has a boundary")
    cells = _ranked_cells(segments_of_scales, len(codes), config)
    if rank >= len(cells):
        return choice_of(nothing, f"only {len(cells)} candidate subsets")
    members = cells[rank]
    if len(members) < max(config.min_subset_images, min_images):
        return choice_of(nothing, f"the subset has only {len(members)} images")
    return choice_of(members, None)


def _cut_latents(
    codes: FloatArray, noise: FloatArray, learned: Sequence[int], config: RoundsConfig
) -> tuple[list[list[Segment]], tuple[SegmentEdges, ...]]:
    """Cut each learned latent, or the angle of two on a ring; return the segments and scales of what was cut."""
    rings = [Ring.of(codes, pair) for pair in find_rings(codes, learned)] if config.rings else []
    parts: list[tuple[tuple[int, ...], FloatArray, float, Ring | None]] = [
        ((latent,), codes[:, latent], float(noise[latent]), None)
        for latent in learned
        if not any(latent in ring.latents for ring in rings)
    ]
    parts += [(ring.latents, ring.angle(codes), ring.noise(noise), ring) for ring in rings]
    segment = partial(config.segmentation.segment, min_images=config.min_subset_images)
    cuts = [(part, cut) for part in parts if (cut := segment(part[1], part[2], several=True))]
    if len(cuts) == 1 and not rings:
        ((part, cut),) = cuts
        cuts = [(part, segment(part[1], part[2], several=False) or cut)]
    scales = [SegmentEdges.of(latents, values, cut, width, ring) for (latents, values, width, ring), cut in cuts]
    return [cut for _, cut in cuts], tuple(scales)


def _ranked_cells(segments_of_scales: Sequence[list[Segment]], size: int, config: RoundsConfig) -> list[IntArray]:
    """Return the candidate subsets, best first, by giving every image one integer cell number."""
    if len(segments_of_scales) == 1:
        (segments,) = segments_of_scales
        return [segment.members for segment in segments]
    cell = np.zeros(size, dtype=np.int64)
    inside = np.ones(size, dtype=bool)
    for segments in segments_of_scales:
        number_of = np.full(size, -1, dtype=np.int64)
        for number, segment in enumerate(segments[: config.max_segments]):
            number_of[segment.members] = number
        inside &= number_of >= 0
        cell = cell * config.max_segments + np.maximum(number_of, 0)
    positions = np.flatnonzero(inside)
    names, inverse, counts = np.unique(cell[positions], return_inverse=True, return_counts=True)
    large = np.flatnonzero(counts > config.min_cell_images)
    if len(large) == 0:
        return []
    median = float(np.median(counts[large]))
    ranked = sorted(large, key=lambda index: (abs(counts[index] - median), names[index]))
    return [positions[inverse == index] for index in ranked]
