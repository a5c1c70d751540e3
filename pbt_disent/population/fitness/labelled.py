"""A metric on known labels, by its name: MIG, nMIG or DCI disentanglement (PBT-VAE; papers.md 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from pbt_disent.metrics import dci, mig, nmig
from pbt_disent.population.fitness import FITNESS, MemberScore, ScoredMember, load_codes
from pbt_disent.store.blobs import BlobStore
from pbt_disent.types import FloatArray, IntArray, Json

__all__ = ["labelled_fitness"]

Score = Callable[[FloatArray, IntArray, int], float]


def labelled_fitness(
    score: Score, members: Sequence[ScoredMember], options: Json, blobs: BlobStore
) -> list[MemberScore]:
    """Score each replica by a metric on labels, and each member by the mean of its replicas.

    Args:
        score: the metric, of codes (N, Z), labels (N, K) and a number of bins.
        members: the members.
        options: `labels`, the digest of an int64 array (N, K) of the probe's class ids; a factor that does not vary on
            the probe does not count.
        blobs: where the codes and the labels are.
    """
    labels = np.asarray(blobs.get_array(options["labels"]), dtype=np.int64)
    varying = labels[:, np.ptp(labels, axis=0) > 0]
    scores = []
    for member in members:
        replicas = tuple(score(codes, varying, options.get("bins", 20)) for codes in load_codes(member, blobs))
        scores.append(MemberScore(member.member, float(np.mean(replicas)), replicas))
    return scores


SCORES: dict[str, Score] = {
    "mig": lambda codes, labels, bins: float(mig(codes, labels, bins=bins).score),
    "nmig": lambda codes, labels, bins: float(nmig(codes, labels, bins=bins).score),
    "dci": lambda codes, labels, bins: float(dci(codes, labels, budget="fast").disentanglement),
}

for name, score in SCORES.items():
    FITNESS.register(name)(partial(labelled_fitness, score))
