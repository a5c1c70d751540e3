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
        name: The name of the whole set.
        fingerprint: The digest of its content.
        subset: The digest of the indices that the round trains on, or None for all images.
        num_images: The number of images that the round trains on.
    """

    name: str
    fingerprint: str
    subset: str | None
    num_images: int


class Assignment(Record):
    """What a member trains in a generation.

    Args:
        member: The index of the member.
        operation: The operation of the rule that led to this assignment.
        parent: The member whose checkpoints it continues, or None for a fresh start.
        origins: The digest of the checkpoint of each replica, or None for a fresh start.
        hyperparameters: All values, fixed and searched.
        objective: The label of the objective that it trains, one of the population's.
    """

    member: int
    operation: Operation
    parent: int | None
    origins: tuple[str | None, ...]
    hyperparameters: Hyperparameters
    objective: str


class MemberRecord(Record):
    """What a member was and did in a generation.

    Args:
        member: The index of the member.
        operation: The operation of the rule that led to what it trained.
        parent: The member whose checkpoints it continued, or None for a fresh start.
        hyperparameters: All values, fixed and searched.
        status: The worst status of its replicas.
        score: The fitness, higher is better, or None if it did not train without error.
        replica_scores: The fitness of each replica; empty without a score, as are the fields up to `losses`.
        checkpoints: The digest of the checkpoint of each replica.
        codes: The digests of its float32 probe codes, each (some replicas, N, Z), together all replicas in order.
        information: The information of each latent in nats, (replicas, Z).
        losses: The mean of each loss term over the generation, by replica.
        image_passes: The image passes paid, over all replicas.
        error: One line on what went wrong, or None.
        objective: The label of the objective that it trained, one of the population's.
    """

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
    """The start of a member's turn in asynchronous training.

    Args:
        turn: The number of the turn among those of its member, from 0.
        origins: The digest of the checkpoint that each replica started from, or None for a fresh start.
    """

    turn: int
    origins: tuple[str | None, ...]


class Window(Record):
    """What asynchronous training adds to a generation, which is then as many turns as there are members.

    Args:
        turns: The number of turns that each member has had in the round.
        waiting: The members that had none in this window; their records are those of an earlier one, without its
            image passes.
        overtaken: The records of turns that were followed by another one of the same member within the window.
        sources: The start of each turn in `Manifest.played`, so that a checkpoint which is lost can be made again.
    """

    turns: tuple[int, ...]
    waiting: tuple[int, ...]
    overtaken: tuple[MemberRecord, ...]
    sources: tuple[Source, ...] = ()


class Manifest(Record):
    """One generation of one round.

    Args:
        round: The path of the round.
        identity: The digest of everything that the round depends on.
        data: The images that it trains on.
        generation: The number of the generation, from 0.
        members: The record of each member.
        next: The assignment of each member for the next generation.
        image_passes: The image passes paid in the round so far.
        window: What asynchronous training adds, or None.
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
        lines = [f"{json.dumps(name)}: {_line_by_line(value)}" for name, value in fields]
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            pydantic.ValidationError: It is not one of this format.
        """
        return cls.model_validate_json(content)


def _line_by_line(value: object) -> str:
    """Return JSON with a line for each element of a list (the encoder's own indentation takes ten times as long)."""
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(" " + _line_by_line(element) for element in value) + "\n]"
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
    """Return a score with its interval, as it is printed everywhere.

    >>> score_text(0.692, interval_over_replicas([0.6, 0.7, 0.776], compared=False))
    '0.692 [0.473 to 0.911]'
    >>> score_text(0.692, None)
    '0.692'
    """
    return f"{score:.3f}" if interval is None else f"{score:.3f} [{interval.low:.3f} to {interval.high:.3f}]"
