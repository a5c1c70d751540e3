"""Choose the subset in which the learned latents are constant: one cell of the grid that their segments make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pbt_disent.config import RoundsConfig
from pbt_disent.rounds.scale import Ring, Scale, find_rings
from pbt_disent.rounds.segmentation import Segment
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Cut", "cut_subset"]


@dataclass(frozen=True)
class Cut:
    """How a set was cut.

    Args:
        subset: The positions of the chosen images in the codes, ascending; empty where nothing could be cut.
        frozen: For each latent that was cut, the code interval (low, high) of the chosen segment.
        segments: Which segment of each latent an image is in, counted along the latent, -1 for none; (N, Z).
        confidence: The probability that a draw from the image's posterior lies in the same segment, (N, Z).
        scales: How codes become segments, to be applied to other images.
        cell: The number of the chosen segment of each scale.
        reason: Why no subset was chosen, or None when one was.
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
    config: RoundsConfig,
    *,
    choice: int,
    min_images: int = 0,
) -> Cut:
    """Cut every learned latent into segments and choose one cell of their product.

    Several latents: of each its best `max_segments`; the cells with more than `min_cell_images` images are ranked by
    how close their size is to the median cell. One latent: its segments are ranked by how clean they are. A latent
    without a boundary is left out (Estermann et al. 2020 end the leaf run there).

    Args:
        codes: The posterior means, (N, Z).
        noise: The standard deviation of the encoder's noise in each latent, (Z,).
        learned: The latents to freeze.
        config: The rule of the segmentation and the constants of the choice.
        choice: Which candidate to take, from 0; leaf runs differ in it.
        min_images: The smallest number of images that a population on the subset can be ranked by.
    """
    cuts, scales = _segments_by_latent(codes, noise, learned, config)
    segments, confidence = np.full(codes.shape, -1, dtype=np.int64), np.zeros(codes.shape)
    for scale in scales:
        for latent in scale.latents:
            segments[:, latent], confidence[:, latent] = scale.assign(codes)

    def cut_of(members: IntArray, reason: str | None) -> Cut:
        latents = [latent for scale in scales for latent in scale.latents] if reason is None else []
        frozen = {z: (float(codes[members, z].min()), float(codes[members, z].max())) for z in latents}
        cell = tuple(int(segments[members[0], scale.latents[0]]) for scale in scales) if reason is None else ()
        return Cut(members, frozen, segments, confidence, scales, cell, reason)

    nothing = np.empty(0, dtype=np.int64)
    if not cuts:
        return cut_of(nothing, "no learned latent has a boundary")
    cells = _ranked_cells(cuts, len(codes), config)
    if choice >= len(cells):
        return cut_of(nothing, f"only {len(cells)} candidate subsets")
    members = cells[choice]
    if len(members) < max(config.min_subset_images, min_images):
        return cut_of(nothing, f"the subset has only {len(members)} images")
    return cut_of(members, None)


def _segments_by_latent(
    codes: FloatArray, noise: FloatArray, learned: Sequence[int], config: RoundsConfig
) -> tuple[list[list[Segment]], tuple[Scale, ...]]:
    """Cut each learned latent, or the angle of two on a ring; return the segments of what was cut, and scales."""
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
    scales = [Scale.of(latents, values, cut, width, ring) for (latents, values, width, ring), cut in cuts]
    return [cut for _, cut in cuts], tuple(scales)


def _ranked_cells(cuts: Sequence[list[Segment]], size: int, config: RoundsConfig) -> list[IntArray]:
    """Return the candidate subsets, best first, by giving every image one integer cell number."""
    if len(cuts) == 1:
        (segments,) = cuts
        return [segment.members for segment in segments]
    cell = np.zeros(size, dtype=np.int64)
    inside = np.ones(size, dtype=bool)
    for segments in cuts:
        kept = np.full(size, -1, dtype=np.int64)
        for number, segment in enumerate(segments[: config.max_segments]):
            kept[segment.members] = number
        inside &= kept >= 0
        cell = cell * config.max_segments + np.maximum(kept, 0)
    positions = np.flatnonzero(inside)
    names, inverse, counts = np.unique(cell[positions], return_inverse=True, return_counts=True)
    large = np.flatnonzero(counts > config.min_cell_images)
    if len(large) == 0:
        return []
    middle = float(np.median(counts[large]))
    ranked = sorted(large, key=lambda index: (abs(counts[index] - middle), names[index]))
    return [positions[inverse == index] for index in ranked]
