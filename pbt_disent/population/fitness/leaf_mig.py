"""Leaf-MIG: the mutual information gap on the labels that earlier rounds found (arXiv 2010.13527, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from pbt_disent.metrics import MINIMUM_POINTS, leaf_runs_mig
from pbt_disent.population.fitness import FITNESS, Fitness, Labels, MemberCodes, MemberScore

__all__ = ["LeafMIGFitness"]


@FITNESS.register("leaf_mig")
class LeafMIGFitness(Fitness):
    """The median leaf-MIG of a replica over the leaf runs; a member has the mean of its replicas."""

    title: ClassVar[str] = "leaf-MIG"
    min_points: ClassVar[int] = MINIMUM_POINTS

    points: int = Field(
        10_000, ge=100, description="The number of images of each level of labels that score a member, at most."
    )
    bins: int = Field(20, ge=2, description="The number of bins of equal width that codes and labels are cut into.")

    def score(self, members: Sequence[MemberCodes], labels: Labels) -> list[MemberScore]:
        """See `Fitness.score`."""
        scores = []
        for member in members:
            replica_scores = tuple(
                float(
                    leaf_runs_mig(
                        [[(codes[rows], values) for rows, values in leaf] for leaf in labels], bins=self.bins
                    ).score
                )
                for codes in member.codes
            )
            scores.append(MemberScore(member.member, float(np.mean(replica_scores)), replica_scores))
        return scores
