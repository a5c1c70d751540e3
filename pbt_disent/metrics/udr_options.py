"""Rankings beyond the published score, all from one table of correlations between models.

The published score rewards agreement and not the number of factors: models that share one latent and models that
share six both score 0.897. And it lets two latents of one model share a partner in the other.

- `coverage_udr` multiplies the agreement of a pair by the number of latents that have found each other.
- `matched_udr` gives every latent a partner of its own, by optimal assignment (Kuhn 1955).
- `population_udr` compares a member's models with those of all members, so that fewer replicas suffice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pbt_disent.errors import UserError
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics.udr import UDR, column_medians, udr
from pbt_disent.types import FloatArray, IntArray

__all__ = ["CoverageUDR", "MatchedUDR", "PopulationUDR", "coverage_udr", "matched_udr", "population_udr"]


@dataclass(frozen=True, eq=False, kw_only=True)
class CoverageUDR(Result):
    """Agreement times the number of matched latents.

    Args:
        score: mean of `model_scores`; up to Z.
        model_scores: (M,) median over the other models.
        pairwise: (M, M) agreement times `matched`, 0 on the diagonal.
        matched: (M, M) number of latents that have found each other.
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    model_scores: FloatArray
    pairwise: FloatArray
    matched: IntArray


@dataclass(frozen=True, eq=False, kw_only=True)
class MatchedUDR(Result):
    """Agreement under the best one-to-one assignment of latents.

    Args:
        score: mean of `model_scores`.
        model_scores: (M,) median over the other models.
        pairwise: (M, M), 0 on the diagonal.
    """

    model_scores: FloatArray
    pairwise: FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class PopulationUDR(Result):
    """Agreement of every member with the whole population.

    Args:
        score: mean of `member_scores`.
        member_scores: (P,) mean over the member's models of `model_scores`, in the order of `members`.
        model_scores: (M,) quantile of the model's pair scores with all other models.
        members: (P,) the members' numbers, ascending.
    """

    member_scores: FloatArray
    model_scores: FloatArray
    members: IntArray


def coverage_udr(ranking: UDR, *, share: float = 0.5) -> CoverageUDR:
    """Return the agreement of a ranking, weighted by how many latents it is about.

    Latents a of one model and b of another have found each other if the relation between them makes up more than
    `share` of all relations of a, and of all relations of b.

    Raises:
        UserError: a share outside [0.5, 1), below which a latent could find two.
    """
    if not 0.5 <= share < 1.0:
        raise UserError(f"share={share}", "must be at least 0.5 and below 1", "use 0.5")
    strengths = ranking.correlations
    mutual = (strengths > share * strengths.sum(axis=3, keepdims=True)) & (
        strengths > share * strengths.sum(axis=2, keepdims=True)
    )
    matched = mutual.sum(axis=(2, 3))
    pairwise = ranking.pairwise * matched
    scores = column_medians(pairwise)
    return CoverageUDR(
        score=float(scores.mean()),
        record=_record(ranking, {"share": share}),
        model_scores=scores,
        pairwise=pairwise,
        matched=matched,
    )


def matched_udr(ranking: UDR) -> MatchedUDR:
    """Return the agreement of a ranking when no two latents may share a partner.

    A pair's score is the largest sum over a one-to-one assignment of 1/2 (R^2 / row sum + R^2 / column sum), divided
    by the larger number of informative latents of the two models; equal models score as in the published ranking.
    """
    from scipy.optimize import linear_sum_assignment

    strengths, count = ranking.correlations, ranking.active.sum(axis=1)
    rows, columns = strengths.sum(axis=3, keepdims=True), strengths.sum(axis=2, keepdims=True)
    gains = 0.5 * strengths**2 * (1.0 / np.where(rows > 0, rows, np.inf) + 1.0 / np.where(columns > 0, columns, np.inf))
    pairwise = np.zeros(gains.shape[:2])
    for i, j in zip(*np.nonzero(~np.eye(len(count), dtype=bool)), strict=True):
        chosen = linear_sum_assignment(gains[i, j], maximize=True)
        pairwise[i, j] = gains[i, j][chosen].sum() / max(count[i], count[j], 1)
    scores = column_medians(pairwise)
    return MatchedUDR(score=float(scores.mean()), record=_record(ranking, {}), model_scores=scores, pairwise=pairwise)


def population_udr(ranking: UDR, member_of_model: IntArray, *, quantile: float = 0.75) -> PopulationUDR:
    """Return the score of every member against all models of a population.

    A model's score is a high quantile of its pair scores with all other models: in a population most models are bad,
    and good ones agree with the good ones only.

    Args:
        ranking: of all M models of all members at once.
        member_of_model: (M,) number of the member that each model belongs to.
        quantile: of a model's pair scores.

    Raises:
        UserError: not one member per model, or a quantile outside [0, 1].
    """
    members = np.asarray(member_of_model)
    if members.shape != ranking.model_scores.shape:
        raise UserError(
            f"member_of_model of shape {members.shape}",
            f"must be (M,) = {ranking.model_scores.shape}",
            "give the member of every model",
        )
    if not 0.0 <= quantile <= 1.0:
        raise UserError(f"quantile={quantile}", "must be between 0 and 1", "use 0.75")
    others = ~np.eye(len(members), dtype=bool)
    scores = np.array([np.quantile(ranking.pairwise[others[:, i], i], quantile) for i in range(len(members))])
    numbers = np.unique(members)
    means = np.array([scores[members == member].mean() for member in numbers])
    return PopulationUDR(
        score=float(means.mean()),
        record=_record(ranking, {"quantile": quantile}),
        member_scores=means,
        model_scores=scores,
        members=numbers,
    )


def _run_coverage(data: Inputs, budget: str, seed: int) -> CoverageUDR:
    return coverage_udr(udr(data.codes, data.nats, "lasso", budget=budget))


def _run_matched(data: Inputs, budget: str, seed: int) -> MatchedUDR:
    return matched_udr(udr(data.codes, data.nats, "lasso", budget=budget))


def _record(ranking: UDR, parameters: dict[str, float]) -> Record:
    return Record(ranking.record.budget, ranking.record.samples, {**ranking.record.parameters, **parameters})


METRICS.register("udr_coverage")(Metric(CoverageUDR, _run_coverage, "ranking"))
METRICS.register("udr_matched")(Metric(MatchedUDR, _run_matched, "ranking"))
