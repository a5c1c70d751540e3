"""Unsupervised Disentanglement Ranking over the replicas of each member (PBT-U-VAE; papers.md 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pbt_disent.metrics.udr import udr
from pbt_disent.population.fitness import FITNESS, MemberScore, ScoredMember, load_codes
from pbt_disent.store.blobs import BlobStore
from pbt_disent.types import Json

__all__ = ["udr_fitness"]


@FITNESS.register("udr")
def udr_fitness(members: Sequence[ScoredMember], options: Json, blobs: BlobStore) -> list[MemberScore]:
    """Score each member by the mean UDR of its replicas.

    Args:
        members: the members; each has two replicas or more.
        options: `correlation` and `information_threshold` of `UdrConfig`.
        blobs: where the codes are.
    """
    scores = []
    for member in members:
        codes = load_codes(member, blobs)
        result = udr(
            codes,
            np.asarray(member.information),
            correlation=options["correlation"],
            threshold=options["information_threshold"],
        )
        replicas = tuple(float(score) for score in result.model_scores)
        scores.append(MemberScore(member.member, float(np.mean(replicas)), replicas))
    return scores
