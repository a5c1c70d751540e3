"""The record of one generation: what every member was, how it scored, and what comes next.

Manifests hold no clock, no host and no attempt: the same config and seed give the same bytes.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pbt_disent.population.rule import Operation
from pbt_disent.training.tasks import Status
from pbt_disent.types import Hyperparameters, Json

__all__ = ["FORMAT", "Assignment", "DataIdentity", "Manifest", "MemberRecord", "Source", "lineage_events"]

FORMAT: Literal[2] = 2


class Record(BaseModel):
    """Base of the records: frozen and closed, so that what is read is what was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataIdentity(Record):
    """Which images a round trains on.

    Args:
        name: of the whole set.
        fingerprint: of its content.
        subset: digest of the indices that the round trains on; none for all images.
        num_images: The number of images that the round trains on.
    """

    name: str
    fingerprint: str
    subset: str | None
    num_images: int


class Assignment(Record):
    """What a member trains in a generation.

    Args:
        member: index of the member.
        operation: how it came to this assignment.
        parent: the member that it continues; none for a fresh start.
        origins: checkpoint digest of each replica; none for a fresh start.
        hyperparameters: all values, fixed and searched.
        objective: The label of the objective that it trains, one of the population's.
    """

    member: int
    operation: Operation
    parent: int | None
    origins: tuple[str | None, ...]
    hyperparameters: Hyperparameters
    objective: str


class MemberRecord(Record):
    """What a member was and did in a generation; information is nats per latent, (replicas, Z)."""

    member: int
    operation: Operation
    parent: int | None
    hyperparameters: Hyperparameters
    status: Status
    score: float | None
    replica_scores: tuple[float, ...]
    checkpoints: tuple[str, ...]
    codes: tuple[str, ...]
    information: tuple[tuple[float, ...], ...]
    losses: tuple[dict[str, float], ...]
    image_passes: int
    error: str | None
    objective: str


class Source(Record):
    """Which turn of its member one was, from 0, and the checkpoint digest of each replica that it started from."""

    turn: int
    origins: tuple[str | None, ...]


class Window(Record):
    """What asynchronous training adds to a generation, which is then as many turns as there are members.

    Args:
        turns: how many each member has had in the round.
        waiting: members that had none in this window; their records are those of an earlier one, without its images.
        overtaken: records of turns that were followed by another one of the same member within the window.
        sources: what the turns in `Manifest.played` began with, so that a checkpoint which is lost can be made again.
    """

    turns: tuple[int, ...]
    waiting: tuple[int, ...]
    overtaken: tuple[MemberRecord, ...]
    sources: tuple[Source, ...] = ()


class Manifest(Record):
    """One generation of one round.

    Args:
        round: its path.
        identity: digest of everything that the round depends on.
        data: which images it trains on.
        generation: from 0.
        members: what each was and did.
        next: what each does in the next generation.
        image_passes: The image passes paid in the round so far.
        window: in asynchronous training alone.
    """

    format: Literal[2] = FORMAT
    round: str
    identity: str
    data: DataIdentity | None = None
    generation: int
    members: tuple[MemberRecord, ...]
    next: tuple[Assignment, ...]
    image_passes: int
    window: Window | None = None

    @property
    def best(self) -> MemberRecord | None:
        """The member with the highest score (the lowest index among equals), if any has one."""
        scored = [member for member in self.members if member.score is not None]
        return min(scored, key=lambda member: (-(member.score or 0.0), member.member)) if scored else None

    @property
    def played(self) -> tuple[MemberRecord, ...]:
        """The records of all that trained: every member, or in a window every turn, overtaken ones first."""
        if self.window is None:
            return self.members
        waiting = self.window.waiting
        return *self.window.overtaken, *(record for record in self.members if record.member not in waiting)

    def outline(self) -> Manifest:
        """Return what later generations need of an old one: its best member and its number of image passes."""
        return self.model_copy(update={"members": (self.best,) if self.best else (), "next": (), "window": None})

    def to_bytes(self) -> bytes:
        """Serialise canonically: sorted keys, floats that read back exactly, a line for each member."""
        fields = sorted(self.model_dump(mode="json", exclude=None if self.window else {"window"}).items())
        lines = [f"{json.dumps(name)}: {_laid_out(value)}" for name, value in fields]
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Read a manifest; raises ValueError (pydantic's ValidationError) if it is not one of this format."""
        return cls.model_validate_json(content)


def _laid_out(value: object) -> str:
    """Return JSON with a line for each element of a list (the encoder's own indentation takes ten times as long)."""
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(" " + _laid_out(one) for one in value) + "\n]"
    return json.dumps(value, sort_keys=True, allow_nan=False)


def lineage_events(manifest: Manifest) -> list[Json]:
    """Return the lineage of a generation as rows: born, trained or failed, scored, replaced, mutated, finished.

    A member that goes on in another's place, where a first generation is thinned out, is `moved`. In asynchronous
    training a copy is replaced and mutated in the window in which its turn has ended.
    """
    place = {"round": manifest.round, "generation": manifest.generation}
    rows: list[Json] = []
    window = manifest.window
    for record in manifest.played:
        who = {**place, "member": record.member}
        if window is not None:
            rows.extend(_replacement(who, record))
        if record.operation in {"start", "restart"}:
            rows.append(
                {**who, "event": "born", "objective": record.objective, "hyperparameters": record.hyperparameters}
            )
        if record.status == "ok":
            rows.append(
                {
                    **who,
                    "event": "trained",
                    "image_passes": record.image_passes,
                    "checkpoints": list(record.checkpoints),
                }
            )
        else:
            rows.append({**who, "event": "failed", "status": record.status, "error": record.error})
        rows.append({**who, "event": "scored", "score": record.score, "replica_scores": list(record.replica_scores)})
    for assignment in manifest.next if window is None else ():
        rows.extend(_replacement({**place, "member": assignment.member}, assignment))
    data = None if manifest.data is None else manifest.data.model_dump()
    rows.append(
        {
            **place,
            "event": "finished",
            "image_passes": manifest.image_passes,
            "identity": manifest.identity,
            "data": data,
        }
    )
    return rows


def _replacement(who: Json, what: Assignment | MemberRecord) -> list[Json]:
    if what.operation == "continue":
        return [] if what.parent == what.member else [{**who, "event": "moved", "from": what.parent}]
    if what.operation == "start":
        return []
    return [
        {**who, "event": "replaced", "by": what.parent, "operation": what.operation},
        {**who, "event": "mutated", "hyperparameters": what.hyperparameters},
    ]
