"""Leaf-MIG: mutual information gap on the labels that earlier rounds found (Estermann et al. 2020; papers.md 4.6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pbt_disent.metrics import leaf_runs_mig
from pbt_disent.population.fitness import FITNESS, MemberScore, ScoredMember, load_codes
from pbt_disent.store.blobs import BlobStore
from pbt_disent.types import Json

__all__ = ["leaf_mig_fitness"]


@FITNESS.register("leaf_mig")
def leaf_mig_fitness(members: Sequence[ScoredMember], options: Json, blobs: BlobStore) -> list[MemberScore]:
    """Score each replica by its median leaf-MIG over the leaf runs, and each member by the mean of its replicas.

    Args:
        members: the members.
        options: `leaves`: for each leaf run its levels, each with `rows`, the digest of an int64 array of positions
            in the probe, and `labels`, the digest of a float array (rows, L) of found label values; and `bins`.
        blobs: where the codes and the labels are.
    """
    leaves = [
        [(blobs.get_array(level["rows"]), blobs.get_array(level["labels"])) for level in leaf]
        for leaf in options["leaves"]
    ]
    bins = options.get("bins", 20)
    scores = []
    for member in members:
        codes = load_codes(member, blobs)
        replicas = tuple(
            float(leaf_runs_mig([[(model[rows], labels) for rows, labels in leaf] for leaf in leaves], bins=bins).score)
            for model in codes
        )
        scores.append(MemberScore(member.member, float(np.mean(replicas)), replicas))
    return scores
