"""A metric on known labels: MIG, nMIG or DCI (PBT-VAE; papers.md 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pbt_disent.metrics.dci import dci
from pbt_disent.metrics.leaf_mig import nmig
from pbt_disent.metrics.mig import mig
from pbt_disent.population.fitness import FITNESS, MemberScore, ScoredMember, load_codes
from pbt_disent.store.blobs import BlobStore
from pbt_disent.types import FloatArray, IntArray, Json

__all__ = ["labelled_fitness"]


@FITNESS.register("labelled")
def labelled_fitness(members: Sequence[ScoredMember], options: Json, blobs: BlobStore) -> list[MemberScore]:
    """Score each replica by a metric on labels, and each member by the mean of its replicas.

    Args:
        members: the members.
        options: `metric`, one of mig, nmig and dci (its disentanglement, by the fast budget); `labels`, the digest of
            an int64 array (N, K) of the probe's class ids.
        blobs: where the codes and the labels are.
    """
    labels = np.asarray(blobs.get_array(options["labels"]))
    varying = labels[:, np.ptp(labels, axis=0) > 0]
    scores = []
    for member in members:
        replicas = tuple(METRICS[options["metric"]](codes, varying) for codes in load_codes(member, blobs))
        scores.append(MemberScore(member.member, float(np.mean(replicas)), replicas))
    return scores


def _disentanglement(codes: FloatArray, labels: IntArray) -> float:
    return float(dci(codes, labels, budget="fast").disentanglement)


METRICS: dict[str, Callable[[FloatArray, IntArray], float]] = {
    "mig": lambda codes, labels: float(mig(codes, labels).score),
    "nmig": lambda codes, labels: float(nmig(codes, labels).score),
    "dci": _disentanglement,
}
