"""Join what leaf runs found separately: latents that say the same of the images that they share are one learned factor.

The published procedure never does this (papers.md 4.6). Leaf runs look at different subsets, so that their latents
often share no image; those of the final model know all images and stand between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from pbt_disent.metrics import MINIMUM_POINTS
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Column", "Factor", "Place", "join"]

LEAST_AGREEMENT = 0.7
"""Rank correlation on shared images, from which two latents are one factor."""

Place = tuple[str, int]
"""Path of a round, and latent of its model."""


@dataclass(frozen=True)
class Column:
    """What one latent says.

    Args:
        place: of the latent.
        images: (n,) which images it is known for, ascending.
        values: (n,) its codes.
    """

    place: Place
    images: IntArray
    values: FloatArray


@dataclass(frozen=True)
class Factor:
    """Latents that say the same.

    Args:
        members: their places, in the order in which they were given.
        signs: 1 where a latent grows with the first one, -1 where it falls.
        agreement: the weakest correlation by which a member came in; 1 for a single one.
    """

    members: tuple[Place, ...]
    signs: tuple[int, ...]
    agreement: float


def join(columns: Sequence[Column], least: float = LEAST_AGREEMENT) -> list[Factor]:
    """Group latents into factors, the strongest correlations first; two latents of one model never share a factor.

    Args:
        columns: each place once.
        least: absolute rank correlation on the shared images, 20 of them or more, that joins two groups.
    """
    pairs = []
    for one, other in itertools.combinations(range(len(columns)), 2):
        if columns[one].place[0] != columns[other].place[0]:
            agreement = _correlation(columns[one], columns[other])
            if abs(agreement) >= least:
                pairs.append((-abs(agreement), one, other, 1 if agreement > 0 else -1))
    group = list(range(len(columns)))
    sign = [1] * len(columns)
    weakest = [1.0] * len(columns)
    for agreement, one, other, direction in sorted(pairs):
        kept, joined = sorted((group[one], group[other]))
        members = [[place for place, own in enumerate(group) if own == which] for which in (kept, joined)]
        rounds = [{columns[place].place[0] for place in part} for part in members]
        if kept == joined or rounds[0] & rounds[1]:
            continue
        turn = sign[one] * sign[other] * direction
        for place in members[1]:
            group[place] = kept
            sign[place] *= turn
        weakest[kept] = min(weakest[kept], weakest[joined], -agreement)
    return [
        Factor(
            tuple(columns[place].place for place, own in enumerate(group) if own == which),
            tuple(sign[place] for place, own in enumerate(group) if own == which),
            weakest[which],
        )
        for which in sorted(set(group))
    ]


def _correlation(one: Column, other: Column) -> float:
    """Return the rank correlation on the shared images; 0 where these are too few or do not vary."""
    _, first, second = np.intersect1d(one.images, other.images, assume_unique=True, return_indices=True)
    if len(first) < MINIMUM_POINTS:
        return 0.0
    ranks = np.stack([rankdata(one.values[first]), rankdata(other.values[second])])
    if np.any(np.ptp(ranks, axis=1) == 0):
        return 0.0
    return float(np.asarray(np.corrcoef(ranks))[0, 1])
