"""Unsupervised Disentanglement Ranking of members by the agreement of their models (PBT-U-VAE; papers.md 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pbt_disent.metrics import UDR, coverage_udr, matched_udr, population_udr, udr
from pbt_disent.population.fitness import FITNESS, MemberScore, ScoredMember, load_codes
from pbt_disent.store.blobs import BlobStore
from pbt_disent.types import FloatArray, Json

__all__ = ["udr_fitness"]


@FITNESS.register("udr")
def udr_fitness(members: Sequence[ScoredMember], options: Json, blobs: BlobStore) -> list[MemberScore]:
    """Score each member by the mean score of its replicas.

    Args:
        members: the members; each has two replicas or more, or one where it is compared with the population.
        options: `correlation`, `alpha`, `information_threshold`, `weight` and `against` of `UdrConfig`.
        blobs: where the codes are.

    Raises:
        ValueError: members with different numbers of latents are to be compared with each other.
    """
    codes = [load_codes(member, blobs) for member in members]
    if options["against"] == "population":
        return _against_population(members, codes, options)
    scores = []
    for member, own in zip(members, codes, strict=True):
        weighted = _weigh(_rank(own, np.asarray(member.information), options), options["weight"])
        replicas = tuple(float(score) for score in weighted.model_scores)
        scores.append(MemberScore(member.member, float(np.mean(replicas)), replicas))
    return scores


def _against_population(
    members: Sequence[ScoredMember], codes: Sequence[FloatArray], options: Json
) -> list[MemberScore]:
    if len({one.shape[-1] for one in codes}) > 1:
        raise ValueError("members with different numbers of latents cannot be compared with the population")
    information = np.concatenate([np.asarray(member.information) for member in members])
    if len(information) < 2:
        return [MemberScore(member.member, 0.0, (0.0,) * len(own)) for member, own in zip(members, codes, strict=True)]
    weighted = _weigh(_rank(np.concatenate(codes), information, options), options["weight"])
    owner = np.repeat(np.arange(len(members)), [len(one) for one in codes])
    ranking = population_udr(weighted, owner)
    return [
        MemberScore(
            member.member,
            float(ranking.member_scores[place]),
            tuple(float(score) for score in ranking.model_scores[owner == place]),
        )
        for place, member in enumerate(members)
    ]


def _rank(codes: FloatArray, information: FloatArray, options: Json) -> UDR:
    return udr(
        codes,
        information,
        correlation=options["correlation"],
        alpha=options.get("alpha", 0.1),
        threshold=options["information_threshold"],
    )


def _weigh(ranking: UDR, weight: str) -> UDR:
    """Return the ranking with other pair and model scores; coverage is taken as a share of all latents."""
    if weight == "coverage":
        coverage = coverage_udr(ranking)
        latents = ranking.active.shape[1]
        return replace(ranking, pairwise=coverage.pairwise / latents, model_scores=coverage.model_scores / latents)
    if weight == "matching":
        matched = matched_udr(ranking)
        return replace(ranking, pairwise=matched.pairwise, model_scores=matched.model_scores)
    return ranking
