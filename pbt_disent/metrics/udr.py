"""Unsupervised disentanglement ranking (UDR) of models by their agreement, and rankings built on it.

UDR (Duan et al. 2020, arXiv 1905.12614, sections 3 and 4) compares models that differ in their random start only, pair
by pair: a pair agrees where every informative latent of one has exactly one partner in the other. Models that agree up
to permutation and sign score 0.897 with the lasso and not 1, since its penalty shrinks every weight; and one shared
latent scores as much as six, since agreement does not count factors. The other rankings answer such flaws:

- `coverage_udr` multiplies the agreement of a pair by the number of latents that match each other.
- `matched_udr` gives every latent a partner of its own, by optimal assignment (Kuhn 1955).
- `population_udr` compares a member's models with those of all members, so that fewer replicas suffice.

Shapes: M models, N points, Z latents, P members of a population.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError, nearest
from pbt_disent.metrics._arrays import as_array, as_codes
from pbt_disent.metrics._lasso import lasso_coefficients
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, check_metric_budget, register_metric
from pbt_disent.types import FloatArray, IntArray

__all__ = [
    "UDR",
    "CoverageUDR",
    "MatchedUDR",
    "PopulationUDR",
    "coverage_udr",
    "matched_udr",
    "population_udr",
    "udr",
]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]

MINIMUM_RANKING_POINTS = 10
"""The fewest points on which models are compared."""
CORRELATIONS = ("lasso", "spearman")
LASSO_TOLERANCE: dict[str, float | None] = {"protocol": 1e-4, "fast": None}


@dataclass(frozen=True, eq=False, kw_only=True)
class UDR(MetricResult):
    """The unsupervised disentanglement ranking of M models.

    Args:
        score: The mean of `model_scores`, which is the fitness of a member whose replicas the models are.
        model_scores: The score of each model, of shape (M,): the median of its column of `pairwise` over other models.
        pairwise: The pair scores, of shape (M, M), with the row's model as predictor; 0 on the diagonal.
        correlations: The strengths of the relations between latents, of shape (M, M, Z, Z). Entry [i, j, a, b] is
            between latent a of model i and latent b of model j; 0 for latents without information and where i = j.
        active: Which latents carry information, of shape (M, Z).
    """

    model_scores: FloatArray
    pairwise: FloatArray
    correlations: FloatArray
    active: BoolArray


@dataclass(frozen=True, eq=False, kw_only=True)
class CoverageUDR(MetricResult):
    """The agreement of models times the number of matched latents.

    Args:
        score: The mean of `model_scores`, at most Z.
        model_scores: The score of each model, of shape (M,): the median over the other models.
        pairwise: The agreement times `matched`, of shape (M, M); 0 on the diagonal.
        matched: The number of latents that match each other, of shape (M, M).
    """

    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    model_scores: FloatArray
    pairwise: FloatArray
    matched: IntArray


@dataclass(frozen=True, eq=False, kw_only=True)
class MatchedUDR(MetricResult):
    """The agreement of models under the best one-to-one assignment of latents.

    Args:
        score: The mean of `model_scores`.
        model_scores: The score of each model, of shape (M,): the median over the other models.
        pairwise: The pair scores, of shape (M, M); 0 on the diagonal.
    """

    model_scores: FloatArray
    pairwise: FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class PopulationUDR(MetricResult):
    """The agreement of every member with the whole population.

    Args:
        score: The mean of `member_scores`.
        member_scores: The score of each member, of shape (P,): the mean over its models of `model_scores`.
        model_scores: The score of each model, of shape (M,): a quantile of its pair scores with all other models.
        members: The numbers of the members, of shape (P,), ascending.
    """

    member_scores: FloatArray
    model_scores: FloatArray
    members: IntArray


def udr(
    codes: ArrayLike,
    information: ArrayLike,
    correlation: str = "lasso",
    *,
    alpha: float = 0.1,
    threshold: float = 0.01,
    budget: str = "protocol",
    device: str | None = None,
) -> UDR:
    """Return how far models agree on the same points (arXiv 1905.12614, sections 3 and 4).

    With R (Z, Z) the strengths of the relations between the informative latents of two models,

        pair score = 1/2 (mean over columns of max^2 / sum + mean over rows of max^2 / sum),

    and the score of a model is the median over the other models. Strengths are absolute lasso coefficients between
    standardised codes (alpha 0.1 and 1,000 points in the published protocol) or absolute Spearman correlations. A pair
    in which a model carries no information at all scores 0.

    Args:
        codes: The codes (posterior means) of all models, an array of shape (M, N, Z).
        information: The information of each latent in nats (the divergence from the prior, averaged over the data), an
            array of shape (M, Z).
        correlation: The strength of a relation, ``lasso`` or ``spearman``.
        alpha: The weight of the lasso's penalty.
        threshold: The information that a latent must exceed to take part.
        budget: The budget: ``protocol`` stops where scikit-learn's lasso does (tolerance 1e-4), ``fast`` computes the
            optimum itself in less time. They differ by up to 2e-3 in a coefficient.
        device: The torch device of the lasso (``cuda``), or None for numpy.

    Raises:
        UserError: There are fewer than two models, codes or information are not finite, shapes do not match, there are
            too few points or more latents than points, or correlation or budget are unknown.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import udr
        >>> rng = np.random.default_rng(0)
        >>> sources = rng.normal(size=(1000, 3))
        >>> agreeing = np.stack([sources, -sources[:, ::-1], sources[:, [1, 0, 2]]])
        >>> round(udr(agreeing, np.ones((3, 3))).score, 2)
        0.9
        >>> round(udr(rng.normal(size=(3, 1000, 3)), np.ones((3, 3))).score, 2)
        0.0
    """
    check_metric_budget(budget)
    values = as_codes(codes, minimum=MINIMUM_RANKING_POINTS, dimensions=3)
    nats = as_array(information, "information")
    models, points, latents = values.shape
    if models < 2:
        raise UserError("codes of one model", "cannot agree with anything", "give at least two models (M, N, Z)")
    if nats.shape != (models, latents):
        raise UserError(
            f"information of shape {nats.shape}",
            f"must be (M, Z) = ({models}, {latents}) for codes of shape {values.shape}",
            "give one number per model and latent",
        )
    if not np.isfinite(nats).all():
        raise UserError("information with NaN or infinite values", "must be finite", "leave such models out")
    if not alpha > 0:
        raise UserError(f"alpha={alpha}", "must be positive", "use 0.1, the published value")
    active = nats > threshold
    values = values.astype(np.float64)
    if correlation == "lasso":
        inputs = _standardise(values) * active[:, None, :]
        strengths = np.abs(lasso_coefficients(inputs, alpha, LASSO_TOLERANCE[budget], device))
    elif correlation == "spearman":
        strengths = _spearman(values) * (active[:, None, :, None] & active[None, :, None, :])
    else:
        raise UserError(f"correlation {correlation!r}", "is no known correlation", nearest(correlation, CORRELATIONS))
    pairwise = _pair_scores(strengths, active)
    scores = _column_medians(pairwise)
    return UDR(
        score=float(scores.mean()),
        provenance=Provenance(
            budget,
            {"models": models, "points": points},
            {"correlation": correlation, "alpha": alpha, "threshold": threshold},
        ),
        model_scores=scores,
        pairwise=pairwise,
        correlations=strengths,
        active=active,
    )


def coverage_udr(ranking: UDR, *, share: float = 0.5) -> CoverageUDR:
    """Return the agreement of models weighted by how many latents they agree on.

    Latents a of one model and b of another match if the relation between them makes up more than a share of all
    relations of a, and of all relations of b.

    Args:
        ranking: The ranking of the models.
        share: The share of all relations that a match exceeds.

    Raises:
        UserError: The share is outside [0.5, 1). Below that a latent could have two matches.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import coverage_udr, udr
        >>> codes = np.stack([np.random.default_rng(0).normal(size=(1000, 3))] * 3)
        >>> result = coverage_udr(udr(codes, np.ones((3, 3))))
        >>> round(result.score, 1), int(result.matched[0, 1])
        (2.7, 3)
    """
    if not 0.5 <= share < 1.0:
        raise UserError(f"share={share}", "must be at least 0.5 and below 1", "use 0.5")
    strengths = ranking.correlations
    mutual = (strengths > share * strengths.sum(axis=3, keepdims=True)) & (
        strengths > share * strengths.sum(axis=2, keepdims=True)
    )
    matched = mutual.sum(axis=(2, 3))
    pairwise = ranking.pairwise * matched
    scores = _column_medians(pairwise)
    return CoverageUDR(
        score=float(scores.mean()),
        provenance=_extended_provenance(ranking, {"share": share}),
        model_scores=scores,
        pairwise=pairwise,
        matched=matched,
    )


def matched_udr(ranking: UDR) -> MatchedUDR:
    """Return the agreement of models when no two latents may share a partner.

    The score of a pair is the largest sum over a one-to-one assignment of 1/2 (R^2 / row sum + R^2 / column sum),
    divided by the larger number of informative latents of the two models. Equal models score as in `udr`.

    Args:
        ranking: The ranking of the models.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import matched_udr, udr
        >>> codes = np.random.default_rng(0).normal(size=(1000, 2))
        >>> ranking = udr(np.stack([codes, codes[:, [0, 0]]]), np.ones((2, 2)), "spearman")
        >>> round(ranking.score, 2), round(matched_udr(ranking).score, 2)
        (0.62, 0.37)
    """
    from scipy.optimize import linear_sum_assignment

    strengths, num_active = ranking.correlations, ranking.active.sum(axis=1)
    rows, columns = strengths.sum(axis=3, keepdims=True), strengths.sum(axis=2, keepdims=True)
    gains = 0.5 * strengths**2 * (1.0 / np.where(rows > 0, rows, np.inf) + 1.0 / np.where(columns > 0, columns, np.inf))
    pairwise = np.zeros(gains.shape[:2])
    for i, j in zip(*np.nonzero(~np.eye(len(num_active), dtype=bool)), strict=True):
        assignment = linear_sum_assignment(gains[i, j], maximize=True)
        pairwise[i, j] = gains[i, j][assignment].sum() / max(num_active[i], num_active[j], 1)
    scores = _column_medians(pairwise)
    provenance = _extended_provenance(ranking, {})
    return MatchedUDR(score=float(scores.mean()), provenance=provenance, model_scores=scores, pairwise=pairwise)


def population_udr(ranking: UDR, member_of_model: IntArray, *, quantile: float = 0.75) -> PopulationUDR:
    """Return the score of every member of a population against the models of all members.

    The score of a model is a high quantile of its pair scores with all other models: in a population most models are
    bad, and good ones agree with the good ones only.

    Args:
        ranking: The ranking of the M models of all members at once.
        member_of_model: The number of the member that each model belongs to, an array of shape (M,).
        quantile: The quantile of a model's pair scores.

    Raises:
        UserError: There is not one member per model, or the quantile is outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import population_udr, udr
        >>> rng = np.random.default_rng(0)
        >>> good = np.stack([rng.normal(size=(1000, 2))] * 4)
        >>> ranking = udr(np.concatenate([good, rng.normal(size=(2, 1000, 2))]), np.ones((6, 2)))
        >>> population_udr(ranking, np.array([0, 0, 1, 1, 2, 2])).member_scores.round(2).tolist()
        [0.9, 0.9, 0.0]
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
    off_diagonal = ~np.eye(len(members), dtype=bool)
    columns = [ranking.pairwise[off_diagonal[:, i], i] for i in range(len(members))]
    scores = np.array([np.quantile(column, quantile) for column in columns])
    numbers = np.unique(members)
    means = np.array([scores[members == number].mean() for number in numbers])
    return PopulationUDR(
        score=float(means.mean()),
        provenance=_extended_provenance(ranking, {"quantile": quantile}),
        member_scores=means,
        model_scores=scores,
        members=numbers,
    )


def _pair_scores(strengths: FloatArray, active: BoolArray) -> FloatArray:
    """Return the pair scores (M, M) of strengths (M, M, Z, Z) over the active latents (M, Z); 0 on the diagonal.

    A latent without any relation counts 0, and so does a pair in which either model has no active latent.
    """
    num_active = np.maximum(active.sum(axis=1), 1)
    rows = _relative_strength(strengths, 3).sum(axis=2) / num_active[:, None]
    columns = _relative_strength(strengths, 2).sum(axis=2) / num_active[None, :]
    scores = (rows + columns) / 2.0
    np.fill_diagonal(scores, 0.0)
    return np.asarray(scores)


def _relative_strength(strengths: FloatArray, axis: int) -> FloatArray:
    total = strengths.sum(axis=axis)
    largest = strengths.max(axis=axis)
    return np.asarray(largest**2 / np.where(total > 0, total, 1.0))


def _column_medians(pairwise: FloatArray) -> FloatArray:
    """Return the median of every column (M,) of pair scores (M, M) without the diagonal."""
    off_diagonal = ~np.eye(len(pairwise), dtype=bool)
    return np.array([np.median(pairwise[off_diagonal[:, i], i]) for i in range(len(pairwise))])


def _standardise(codes: FloatArray) -> FloatArray:
    """Return codes (M, N, Z) with mean 0 and variance 1 per column; a column constant to rounding becomes 0."""
    mean = codes.mean(axis=1, keepdims=True)
    centred = codes - mean
    variance = (centred**2).mean(axis=1, keepdims=True)
    rounding = (codes.shape[1] * np.finfo(np.float64).eps * np.abs(mean)) ** 2
    constant = variance <= rounding
    return np.asarray(np.where(constant, 0.0, centred / np.sqrt(np.where(constant, 1.0, variance))))


def _spearman(codes: FloatArray) -> FloatArray:
    """Return the absolute rank correlations (M, M, Z, Z) of all columns; 0 for constant columns."""
    from scipy.stats import rankdata

    models, points, latents = codes.shape
    ranks = _standardise(rankdata(codes, axis=1)).transpose(0, 2, 1).reshape(models * latents, points)
    correlations = np.abs(ranks @ ranks.T / points).reshape(models, latents, models, latents).transpose(0, 2, 1, 3)
    correlations[np.arange(models), np.arange(models)] = 0.0
    return np.asarray(correlations)


def _extended_provenance(ranking: UDR, parameters: dict[str, float]) -> Provenance:
    return replace(ranking.provenance, parameters={**ranking.provenance.parameters, **parameters})


def _rank(inputs: MetricInputs, correlation: str, budget: str) -> UDR:
    return udr(inputs.codes, inputs.require("information"), correlation, budget=budget)


@register_metric("udr", UDR, "ranking")
def _run_udr(inputs: MetricInputs, budget: str, seed: int) -> UDR:
    return _rank(inputs, "lasso", budget)


@register_metric("udr_spearman", UDR, "ranking")
def _run_udr_spearman(inputs: MetricInputs, budget: str, seed: int) -> UDR:
    return _rank(inputs, "spearman", budget)


@register_metric("udr_coverage", CoverageUDR, "ranking")
def _run_udr_coverage(inputs: MetricInputs, budget: str, seed: int) -> CoverageUDR:
    return coverage_udr(_rank(inputs, "lasso", budget))


@register_metric("udr_matched", MatchedUDR, "ranking")
def _run_udr_matched(inputs: MetricInputs, budget: str, seed: int) -> MatchedUDR:
    return matched_udr(_rank(inputs, "lasso", budget))
