"""No ranking at all: for a single member that follows a schedule with too few replicas to be compared."""

from __future__ import annotations

from collections.abc import Sequence

from pbt_disent.population.fitness import FITNESS, Fitness, Labels, MemberCodes, MemberScore

__all__ = ["Unranked"]


@FITNESS.register("none")
class Unranked(Fitness):
    """Give every member zero."""

    def score(self, members: Sequence[MemberCodes], labels: Labels) -> list[MemberScore]:
        """See `Fitness.score`."""
        return [MemberScore(codes.member, 0.0, (0.0,) * len(codes.codes)) for codes in members]
