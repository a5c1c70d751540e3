"""Join latents of separate rounds that say the same of the images that they share into one learned factor.

The published procedure (arXiv 2010.13527) never does this. Leaf runs look at different subsets, so that their latents
often share no image; those of the final model know all images and stand between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from pbt_disent.metrics import MINIMUM_POINTS
from pbt_disent.rounds.recursion import LeafRun
from pbt_disent.types import FloatArray, IntArray

__all__ = ["LatentCodes", "LatentId", "LearnedFactor", "join_latents", "learned_factors"]

MIN_AGREEMENT = 0.7
"""The rank correlation on shared images from which two latents are one factor."""

LatentId = tuple[str, int]
"""The path of a round, and a latent of its model."""


@dataclass(frozen=True)
class LatentCodes:
    """The codes of one latent.

    Args:
        latent: The latent.
        images: The indices of the images that it labels, ascending, an array of shape (N,).
        codes: The codes of these images, an array of shape (N,).
    """

    latent: LatentId
    images: IntArray
    codes: FloatArray


@dataclass(frozen=True)
class LearnedFactor:
    """Latents that say the same.

    Args:
        members: The latents, in the order in which they were passed.
        signs: For each latent, 1 if it grows with the first one and -1 if it falls.
        agreement: The weakest correlation by which a latent was joined; 1 for a single latent.
    """

    members: tuple[LatentId, ...]
    signs: tuple[int, ...]
    agreement: float


def join_latents(latents: Sequence[LatentCodes], min_agreement: float = MIN_AGREEMENT) -> list[LearnedFactor]:
    """Group latents into factors, the strongest correlations first; two latents of one model never share a factor.

    >>> codes = np.random.default_rng(0).normal(size=50)
    >>> first = LatentCodes(("0/leaf1/1", 0), np.arange(50), codes)
    >>> second = LatentCodes(("0/leaf2/1", 3), np.arange(25, 75), np.concatenate([-codes[25:], codes[:25]]))
    >>> [(factor.members, factor.signs) for factor in join_latents([first, second])]
    [((('0/leaf1/1', 0), ('0/leaf2/1', 3)), (1, -1))]

    Args:
        latents: The codes of the latents, each latent once.
        min_agreement: The absolute rank correlation, on 20 shared images or more, that joins two groups.
    """
    pairs = []
    for first, second in itertools.combinations(range(len(latents)), 2):
        if latents[first].latent[0] != latents[second].latent[0]:
            correlation = _rank_correlation(latents[first], latents[second])
            if abs(correlation) >= min_agreement:
                pairs.append((-abs(correlation), first, second, 1 if correlation > 0 else -1))
    groups = [[index] for index in range(len(latents))]  # by the smallest index in them; joined ones become empty
    group_of = list(range(len(latents)))
    signs = [1] * len(latents)
    weakest = [1.0] * len(latents)
    for negative_agreement, first, second, direction in sorted(pairs):
        kept, joined = sorted((group_of[first], group_of[second]))
        rounds = [{latents[index].latent[0] for index in groups[group]} for group in (kept, joined)]
        if kept == joined or rounds[0] & rounds[1]:
            continue
        flip = signs[first] * signs[second] * direction
        for index in groups[joined]:
            group_of[index] = kept
            signs[index] *= flip
        groups[kept] = sorted(groups[kept] + groups[joined])
        groups[joined] = []
        weakest[kept] = min(weakest[kept], weakest[joined], -negative_agreement)
    return [
        LearnedFactor(
            tuple(latents[index].latent for index in members),
            tuple(signs[index] for index in members),
            weakest[group],
        )
        for group, members in enumerate(groups)
        if members
    ]


def _rank_correlation(first: LatentCodes, second: LatentCodes) -> float:
    """Return the rank correlation on the shared images; 0 where these are too few or do not vary."""
    _, in_first, in_second = np.intersect1d(first.images, second.images, assume_unique=True, return_indices=True)
    if len(in_first) < MINIMUM_POINTS:
        return 0.0
    ranks = np.stack([rankdata(first.codes[in_first]), rankdata(second.codes[in_second])])
    if np.any(np.ptp(ranks, axis=1) == 0):
        return 0.0
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def learned_factors(
    leaf_runs: Sequence[LeafRun], final_codes: FloatArray | None, images: IntArray
) -> tuple[LearnedFactor, ...]:
    """Join the latents of all leaf runs into learned factors.

    Args:
        leaf_runs: The leaf runs with the labels that they gave.
        final_codes: The codes of the final model, an array of shape (N, Z), or None where there is none.
        images: The indices of the images of these codes, an array of shape (N,).

    Returns:
        The factors with at least one latent of a leaf run. Where a latent of the final model agrees, it is a member as
        well, under the round ``final``.
    """
    latents: dict[LatentId, LatentCodes] = {}
    for leaf_run in leaf_runs:
        for level in leaf_run.levels:
            order = np.argsort(level.images)
            for column, number in enumerate(level.latents):
                latent = (level.path, number)
                latents[latent] = LatentCodes(latent, level.images[order], level.codes[order, column])
    if final_codes is not None:
        order = np.argsort(images)
        for number in range(final_codes.shape[1]):
            latents["final", number] = LatentCodes(("final", number), images[order], final_codes[order, number])
    factors = join_latents(list(latents.values()))
    return tuple(factor for factor in factors if any(path != "final" for path, _ in factor.members))
