"""What PBT ranks by: each fitness scores all members of a generation from their probe codes, on arrays alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from pbt_disent.registry import Choice, Component, Registry
from pbt_disent.types import FloatArray, IntArray, Json

__all__ = ["FITNESS", "MIN_UNLABELLED_POINTS", "Fitness", "LabelledCodes", "MemberCodes", "MemberScore", "load_fitness"]

FITNESS: Registry[type[Fitness]] = Registry("fitness", "pbt_disent.population.fitness")

MIN_UNLABELLED_POINTS = 10
"""The smallest number of images by which models are compared with each other."""

Labels = Sequence[Sequence[tuple[IntArray, FloatArray | IntArray]]]
"""The labels of the probe images, by leaf run and level: the positions of images in the probe, and their labels
(rows, L). Labels of a data set are one leaf run with one level; without labels there is none."""


@dataclass(frozen=True)
class MemberCodes:
    """What a member is scored by.

    Args:
        member: The index of the member.
        codes: The codes of the N probe images by each of its replicas, (replicas, N, Z) float32.
        information: The information of each latent in nats, (replicas, Z).
    """

    member: int
    codes: FloatArray
    information: FloatArray


@dataclass(frozen=True)
class MemberScore:
    """The fitness of a member, higher is better.

    Args:
        member: The index of the member.
        score: The fitness of the member.
        replica_scores: The fitness of each of its replicas.
    """

    member: int
    score: float
    replica_scores: tuple[float, ...]


class Fitness(Component):
    """Base of all fitness functions."""

    title: ClassVar[str] = "score"
    """What a score is called in sentences."""
    uses_labels: ClassVar[bool] = False
    """Whether it needs the labels of the data set."""
    min_points: ClassVar[int] = MIN_UNLABELLED_POINTS
    """The smallest number of images that a population can be ranked by."""

    points: int = Field(1000, ge=20, description="The number of images that are encoded to score a member, at most.")

    @property
    def min_replicas(self) -> int:
        """The smallest number of replicas that a member must have."""
        return 1

    @property
    def compares_replicas(self) -> bool:
        """Whether the scores of a member's replicas are comparisons of these with each other."""
        return False

    @property
    def compares_members(self) -> bool:
        """Whether the score of a member depends on the other members."""
        return False

    def score(self, members: Sequence[MemberCodes], labels: Labels) -> list[MemberScore]:
        """Return the score of each member, in order.

        Args:
            members: The members that trained without error.
            labels: The labels of the probe images; empty without labels.
        """
        raise NotImplementedError


def load_fitness(document: Json) -> Fitness:
    """Return the fitness that a log of rounds names, as `Fitness.dump` wrote it.

    >>> load_fitness({"name": "udr", "alpha": 0.2}).name
    'udr'

    Raises:
        OptionError: The document is of another version.
    """
    fitness = Choice("fitness", "udr").validate(document)
    assert isinstance(fitness, Fitness)
    return fitness
