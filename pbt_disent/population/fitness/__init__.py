"""What PBT ranks by. A fitness function scores all members of a generation from their probe codes, on arrays alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pbt_disent.registry import Registry
from pbt_disent.store.blobs import BlobStore
from pbt_disent.types import FloatArray, Json

__all__ = ["FITNESS", "MemberScore", "ScoredMember", "load_codes"]


@dataclass(frozen=True)
class ScoredMember:
    """A member to be scored.

    Args:
        member: its index.
        codes: digests of its float32 probe codes, each (some replicas, N, Z), together all replicas in order.
        information: nats per latent, (replicas, Z).
    """

    member: int
    codes: tuple[str, ...]
    information: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class MemberScore:
    """The fitness of a member and of each of its replicas, higher is better."""

    member: int
    score: float
    replica_scores: tuple[float, ...]


def load_codes(member: ScoredMember, blobs: BlobStore) -> FloatArray:
    """Return the probe codes of all replicas of a member, (replicas, N, Z)."""
    return np.concatenate([np.asarray(blobs.get_array(digest), dtype=np.float32) for digest in member.codes])


Fitness = Callable[[Sequence[ScoredMember], Json, BlobStore], list[MemberScore]]

FITNESS: Registry[Fitness] = Registry("fitness", "pbt_disent.population.fitness")
