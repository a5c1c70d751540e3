"""No ranking at all: for a single member that follows a schedule with too few replicas to be compared."""

from __future__ import annotations

from collections.abc import Sequence

from pbt_disent.population.fitness import FITNESS, MemberScore, ScoredMember
from pbt_disent.store.blobs import BlobStore
from pbt_disent.types import Json

__all__ = ["unranked"]


@FITNESS.register("none")
def unranked(members: Sequence[ScoredMember], options: Json, blobs: BlobStore) -> list[MemberScore]:
    """Give every replica zero."""
    return [MemberScore(one.member, 0.0, (0.0,) * len(one.information)) for one in members]
