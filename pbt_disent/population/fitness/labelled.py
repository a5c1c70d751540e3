"""A metric on the labels of the data set: MIG, nMIG or DCI disentanglement (PBT-VAE, arXiv 2010.13527, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from pbt_disent.metrics import MINIMUM_POINTS, dci, mig, nmig
from pbt_disent.population.fitness import FITNESS, Fitness, Labels, MemberCodes, MemberScore
from pbt_disent.types import FloatArray, IntArray

__all__ = ["DCIFitness", "LabelledFitness", "MIGFitness", "NMIGFitness"]


class LabelledFitness(Fitness):
    """Scores each replica by a metric on labels, and each member by the mean of its replicas."""

    uses_labels: ClassVar[bool] = True
    min_points: ClassVar[int] = MINIMUM_POINTS

    points: int = Field(10_000, ge=100, description="The number of labelled images that score a member, at most.")

    def metric(self, codes: FloatArray, factors: IntArray) -> float:
        """Return the score of one replica.

        Args:
            codes: The codes of the probe images, (N, Z).
            factors: The factors of the probe images, (N, K), all of which vary.
        """
        raise NotImplementedError

    def score(self, members: Sequence[MemberCodes], labels: Labels) -> list[MemberScore]:
        """See `Fitness.score`; a factor that does not vary on the probe does not count."""
        ((_, values),) = labels[0]
        factors = np.asarray(values, dtype=np.int64)
        factors = factors[:, np.ptp(factors, axis=0) > 0]
        scores = []
        for member in members:
            replica_scores = tuple(self.metric(codes, factors) for codes in member.codes)
            scores.append(MemberScore(member.member, float(np.mean(replica_scores)), replica_scores))
        return scores


@FITNESS.register("mig")
class MIGFitness(LabelledFitness):
    """The mutual information gap (Chen et al. 2018, arXiv 1802.04942)."""

    title: ClassVar[str] = "MIG"

    bins: int = Field(20, ge=2, description="The number of bins of equal width that codes are cut into.")

    def metric(self, codes: FloatArray, factors: IntArray) -> float:
        """See `LabelledFitness.metric`."""
        return float(mig(codes, factors, bins=self.bins).score)


@FITNESS.register("nmig")
class NMIGFitness(LabelledFitness):
    """The mutual information gap normalised as in Estermann et al. 2020 (arXiv 2010.13527)."""

    title: ClassVar[str] = "nMIG"

    bins: int = Field(20, ge=2, description="The number of bins of equal width that codes are cut into.")

    def metric(self, codes: FloatArray, factors: IntArray) -> float:
        """See `LabelledFitness.metric`."""
        return float(nmig(codes, factors, bins=self.bins).score)


@FITNESS.register("dci")
class DCIFitness(LabelledFitness):
    """The disentanglement of DCI (Eastwood and Williams 2018), with fast trees."""

    title: ClassVar[str] = "DCI disentanglement"

    def metric(self, codes: FloatArray, factors: IntArray) -> float:
        """See `LabelledFitness.metric`."""
        return float(dci(codes, factors, budget="fast").disentanglement)
