"""Who descends from whom: the winner of a round, and the members that its weights went through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pbt_disent.population.manifest import Manifest, MemberRecord

__all__ = ["Step", "ancestors", "replacements", "winner"]


@dataclass(frozen=True, order=True)
class Step:
    """One member in one generation."""

    generation: int
    member: int


def winner(manifests: Sequence[Manifest]) -> Step | None:
    """Return the best member of the best generation (the earliest among equals), if any member has a score."""
    best = [(manifest.generation, manifest.best) for manifest in manifests]
    scored = [(record.score or 0.0, -generation, record.member) for generation, record in best if record is not None]
    if not scored:
        return None
    _, generation, member = max(scored)
    return Step(-generation, member)


def ancestors(manifests: Sequence[Manifest], last: Step | None) -> list[Step]:
    """Return the way of a member's weights from their first start to `last`, in order of time."""
    way: list[Step] = []
    member = last.member if last else None
    for generation in range(last.generation if last else -1, -1, -1):
        if member is None:
            break
        way.append(Step(generation, member))
        member = manifests[generation].members[member].parent
    return way[::-1]


def replacements(manifests: Sequence[Manifest]) -> list[tuple[int, MemberRecord]]:
    """Return every member that did not go on as it was, with the generation in which it started anew."""
    return [
        (manifest.generation, record)
        for manifest in manifests
        for record in manifest.members
        if record.operation in {"exploit", "restart"}
    ]
