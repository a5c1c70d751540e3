"""Choose the subset in which the learned latents are constant: one cell of the grid that their segments make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pbt_disent.config import SegmentationConfig
from pbt_disent.rounds.rings import angle, find_rings
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
        reason: why nothing was cut; none when something was.
    """

    subset: IntArray
    frozen: dict[int, tuple[float, float]]
    segments: IntArray
    reason: str | None


def cut_subset(
    codes: FloatArray, noise: FloatArray, learned: Sequence[int], config: SegmentationConfig, *, choice: int
) -> Cut:
    """Cut every learned latent into segments and choose one cell of their product.

    Several latents: of each its best `max_segments`; the cells with more than five images are ranked by how close
    their size is to the median cell. One latent: its segments are ranked by how clean they are. A latent without a
    boundary is left out (Estermann et al. 2020 end the leaf run there).

    Args:
        codes: (N, Z) posterior means.
        noise: (Z,) standard deviation of the encoder's noise in each latent.
        learned: the latents to freeze.
        config: constants of the segmentation.
        choice: which candidate to take, from 0; leaf runs differ in it.
    """
    cuts = _segments_by_latent(codes, noise, learned, config)
    ids = np.full(codes.shape, -1, dtype=np.int64)
    for latents, segments in cuts.items():
        for number, item in enumerate(sorted(segments, key=lambda one: one.low)):
            ids[item.members[:, None], list(latents)] = number
    nothing = np.empty(0, dtype=np.int64)
    if not cuts:
        return Cut(nothing, {}, ids, "no learned latent has a boundary")
    cells = _ranked_cells(cuts, len(codes), config)
    if choice >= len(cells):
        return Cut(nothing, {}, ids, f"only {len(cells)} candidate subsets")
    members = cells[choice]
    if len(members) < config.min_images:
        return Cut(nothing, {}, ids, f"the subset has only {len(members)} images")
    frozen = {
        latent: (float(codes[members, latent].min()), float(codes[members, latent].max()))
        for latents in cuts
        for latent in latents
    }
    return Cut(members, frozen, ids, None)


def _segments_by_latent(
    codes: FloatArray, noise: FloatArray, learned: Sequence[int], config: SegmentationConfig
) -> dict[tuple[int, ...], list[Segment]]:
    """Cut each learned latent, or both of a ring together; keys are the latents that are cut."""

    def segments(latent: int, *, several: bool) -> list[Segment]:
        return segment(codes[:, latent], float(noise[latent]), config, several=several)

    rings = find_rings(codes, learned) if config.rings else []
    single = [latent for latent in learned if not any(latent in pair for pair in rings)]
    found: dict[tuple[int, ...], list[Segment]] = {}
    for latent in single:
        if cut := segments(latent, several=True):
            found[latent,] = cut
    for pair in rings:
        if cut := segment(*angle(codes, pair, noise), config, several=True):
            found[pair] = cut
    if len(found) == 1 and not rings:
        ((latent,),) = found
        found[latent,] = segments(latent, several=False) or found[latent,]
    return found


def _ranked_cells(
    cuts: Mapping[tuple[int, ...], list[Segment]], size: int, config: SegmentationConfig
) -> list[IntArray]:
    """Return the candidate subsets, best first, by giving every image one integer cell number."""
    if len(cuts) == 1:
        (segments,) = cuts.values()
        return [item.members for item in segments]
    cell = np.zeros(size, dtype=np.int64)
    inside = np.ones(size, dtype=bool)
    for segments in cuts.values():
        kept = np.full(size, -1, dtype=np.int64)
        for number, item in enumerate(segments[: config.max_segments]):
            kept[item.members] = number
        inside &= kept >= 0
        cell = cell * config.max_segments + np.maximum(kept, 0)
    positions = np.flatnonzero(inside)
    names, inverse, counts = np.unique(cell[positions], return_inverse=True, return_counts=True)
    large = np.flatnonzero(counts > 5)
    if len(large) == 0:
        return []
    middle = float(np.median(counts[large]))
    ranked = sorted(large, key=lambda index: (abs(counts[index] - middle), names[index]))
    return [positions[inverse == index] for index in ranked]
