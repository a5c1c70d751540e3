"""The record of one generation: what every member was, how it scored, and what comes next.

Manifests hold no clock, no host and no attempt: the same config and seed give the same bytes.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pbt_disent.metrics import Interval, interval_over_replicas
from pbt_disent.population.fitness import Fitness
from pbt_disent.population.rule import Operation
from pbt_disent.training.tasks import Status
from pbt_disent.types import Hyperparameters

__all__ = [
    "FORMAT",
    "Assignment",
    "DataIdentity",
    "Manifest",
    "MemberRecord",
    "Source",
    "member_interval",
    "score_text",
]

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


def member_interval(manifest: Manifest, record: MemberRecord | None, fitness: Fitness) -> Interval | None:
    """Return where a member's score would lie with other replicas, in 95 of 100 such members.

    All members of a generation are taken to spread alike, for a few replicas alone say next to nothing of their spread:
    in simulated generations whose members spread from 0.02 to 0.16 it held for 94 of 100, and for 82 of the ones that
    spread most. It says how far training with other seeds would move the score, and nothing of the choice of the best
    among many.

    Args:
        manifest: The generation of the member.
        record: The record of the member, or None.
        fitness: What its round ranks by.

    Returns:
        None without a score, for a single replica, and for two that are compared with each other, whose two scores are
        one number.
    """
    if record is None or record.score is None:
        return None
    return interval_over_replicas(
        record.replica_scores,
        compared=fitness.compares_replicas,
        alike=[member.replica_scores for member in manifest.members if member is not record],
    )


def score_text(score: float, interval: Interval | None) -> str:
    """Return a score with its interval, such as ``0.692 [0.202 to 1.000]``, as it is printed everywhere."""
    return f"{score:.3f}" if interval is None else f"{score:.3f} [{interval.low:.3f} to {interval.high:.3f}]"
