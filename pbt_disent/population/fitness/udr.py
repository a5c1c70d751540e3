"""Unsupervised Disentanglement Ranking: members are ranked by how well their models agree (PBT-U-VAE).

Duan et al. 2020 (arXiv 1905.12614) define the score; Estermann et al. 2020 (arXiv 2010.13527) rank members by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pbt_disent.metrics import UDR, coverage_udr, matched_udr, population_udr, udr
from pbt_disent.population.fitness import FITNESS, Fitness, Labels, MemberCodes, MemberScore
from pbt_disent.types import FloatArray

__all__ = ["UDRFitness"]


@FITNESS.register("udr")
class UDRFitness(Fitness):
    """Unsupervised Disentanglement Ranking; a member has the mean score of its replicas."""

    title: ClassVar[str] = "UDR"

    correlation: Literal["lasso", "spearman"] = Field("lasso", description="How latents of two models are related.")
    alpha: float = Field(0.1, gt=0, description="The weight of the lasso's penalty.")
    information_threshold: float = Field(
        0.01, ge=0, description="The information, in nats, below which a latent is masked."
    )
    weight: Literal["agreement", "coverage", "matching"] = Field(
        "agreement",
        description="The published score (agreement); times the share of latents that were found in both models "
        "(coverage); or with one partner for each latent (matching).",
    )
    against: Literal["replicas", "population"] = Field(
        "replicas", description="The models that a model is compared with: those of its member, or of all members."
    )

    @property
    def min_replicas(self) -> int:
        """Two, where the replicas of a member are compared."""
        return 2 if self.compares_replicas else 1

    @property
    def compares_replicas(self) -> bool:
        """Whether the replicas of a member are compared with each other."""
        return self.against == "replicas"

    @property
    def compares_members(self) -> bool:
        """Whether the models of all members are compared."""
        return self.against == "population"

    def score(self, members: Sequence[MemberCodes], labels: Labels) -> list[MemberScore]:
        """See `Fitness.score`.

        Raises:
            ValueError: Members with different numbers of latents are to be compared with each other.
        """
        if self.compares_members:
            return self._score_against_population(members)
        scores = []
        for member in members:
            ranking = self._weighted(self.rank(member.codes, member.information))
            replica_scores = tuple(float(score) for score in ranking.model_scores)
            scores.append(MemberScore(member.member, float(np.mean(replica_scores)), replica_scores))
        return scores

    def rank(self, codes: FloatArray, information: FloatArray) -> UDR:
        """Return the published UDR of models.

        Args:
            codes: The codes of the probe images, (M, N, Z).
            information: The information of each latent in nats, (M, Z).
        """
        return udr(
            codes,
            information,
            correlation=self.correlation,
            alpha=self.alpha,
            threshold=self.information_threshold,
        )

    def _score_against_population(self, members: Sequence[MemberCodes]) -> list[MemberScore]:
        if len({member.codes.shape[-1] for member in members}) > 1:
            raise ValueError("members with different numbers of latents cannot be compared with the population")
        information = np.concatenate([member.information for member in members])
        if len(information) < 2:
            return [MemberScore(member.member, 0.0, (0.0,) * len(member.codes)) for member in members]
        ranking = self._weighted(self.rank(np.concatenate([member.codes for member in members]), information))
        owner = np.repeat(np.arange(len(members)), [len(member.codes) for member in members])
        against = population_udr(ranking, owner)
        return [
            MemberScore(
                member.member,
                float(against.member_scores[index]),
                tuple(float(score) for score in against.model_scores[owner == index]),
            )
            for index, member in enumerate(members)
        ]

    def _weighted(self, ranking: UDR) -> UDR:
        """Return the ranking with other pair and model scores; coverage is taken as a share of all latents."""
        if self.weight == "coverage":
            coverage = coverage_udr(ranking)
            latents = ranking.active.shape[1]
            return replace(ranking, pairwise=coverage.pairwise / latents, model_scores=coverage.model_scores / latents)
        if self.weight == "matching":
            matched = matched_udr(ranking)
            return replace(ranking, pairwise=matched.pairwise, model_scores=matched.model_scores)
        return ranking
