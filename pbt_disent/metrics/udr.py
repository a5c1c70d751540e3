"""Unsupervised disentanglement ranking (Duan et al. 2020, arXiv 1905.12614, sections 3 and 4): agreement of models.

Models that differ in their random start only are compared pair by pair: a pair agrees where every informative
latent of one has exactly one partner in the other. With R (Z, Z) the strengths of the relations between the
informative latents of two models,

    pair score = 1/2 (mean over columns of max^2 / sum + mean over rows of max^2 / sum),

and a model's score is the median over the other models. Strengths are absolute lasso coefficients between
standardised codes (alpha 0.1, 1,000 points in the published protocol) or absolute Spearman correlations.

Models that agree up to permutation and sign score 0.897 with lasso and not 1, since its penalty shrinks every weight;
and one shared latent scores as much as six, since agreement does not count factors (see `udr_options`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError, nearest
from pbt_disent.metrics._arrays import as_array, as_codes
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result, check_budget
from pbt_disent.metrics.lasso import lasso_coefficients
from pbt_disent.types import FloatArray

__all__ = ["UDR", "column_medians", "pair_scores", "udr"]

CORRELATIONS = ("lasso", "spearman")
TOLERANCE: dict[str, float | None] = {"protocol": 1e-4, "fast": None}


@dataclass(frozen=True, eq=False, kw_only=True)
class UDR(Result):
    """Unsupervised disentanglement ranking of M models.

    Args:
        score: mean of `model_scores`, the fitness of a member whose replicas the M models are.
        model_scores: (M,) median over the other models of the pair scores in the model's column.
        pairwise: (M, M) pair score with the row's model as predictor; the diagonal is 0.
        correlations: (M, M, Z, Z) strengths, [i, j, a, b] between latent a of model i and latent b of model j;
            0 for latents that carry no information, and on the diagonal.
        active: (M, Z) which latents carry information.
    """

    model_scores: FloatArray
    pairwise: FloatArray
    correlations: FloatArray
    active: np.ndarray[Any, np.dtype[np.bool_]]


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
    """Return how far M models agree on codes (M, N, Z) of the same N points.

    Args:
        codes: (M, N, Z) posterior means; the models of a population may all be given at once.
        information: (M, Z) nats per latent (the divergence from the prior, averaged over the data).
        correlation: ``lasso`` or ``spearman``.
        alpha: weight of the lasso's penalty.
        threshold: latents with no more information than this take no part.
        budget: ``protocol`` stops where scikit-learn's lasso does (tolerance 1e-4); ``fast`` is the optimum
            itself, in less time. They differ by up to 2e-3 in a coefficient.
        device: torch device for the lasso (``cuda``), numpy where None.

    Returns:
        The scores; a pair in which a model carries no information at all scores 0.

    Raises:
        UserError: fewer than two models, codes or information not finite, shapes that do not match, too few points,
            more latents than points, or an unknown correlation or budget.
    """
    check_budget(budget)
    values = as_codes(codes, minimum=10, dimensions=3)
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
    prepared = values.astype(np.float64)
    if correlation == "lasso":
        masked = _standardise(prepared) * active[:, None, :]
        strengths = np.abs(lasso_coefficients(masked, alpha, TOLERANCE[budget], device))
    elif correlation == "spearman":
        strengths = _spearman(prepared) * (active[:, None, :, None] & active[None, :, None, :])
    else:
        raise UserError(f"correlation {correlation!r}", "is no known correlation", nearest(correlation, CORRELATIONS))
    pairwise = pair_scores(strengths, active)
    scores = column_medians(pairwise)
    return UDR(
        score=float(scores.mean()),
        record=Record(
            budget,
            {"models": models, "points": points},
            {"correlation": correlation, "alpha": alpha, "threshold": threshold},
        ),
        model_scores=scores,
        pairwise=pairwise,
        correlations=strengths,
        active=active,
    )


def pair_scores(strengths: FloatArray, active: np.ndarray[Any, np.dtype[np.bool_]]) -> FloatArray:
    """Return the pair scores (M, M) of strengths (M, M, Z, Z) over the active latents (M, Z); 0 on the diagonal.

    A latent without any relation counts 0, and so does a pair in which either model has no active latent.
    """
    count = active.sum(axis=1)
    rows = _relative_strength(strengths, 3).sum(axis=2) / np.maximum(count, 1)[:, None]
    columns = _relative_strength(strengths, 2).sum(axis=2) / np.maximum(count, 1)[None, :]
    scores = (rows + columns) / 2.0
    np.fill_diagonal(scores, 0.0)
    return np.asarray(scores)


def column_medians(pairwise: FloatArray) -> FloatArray:
    """Return every model's score (M,): the median of its column of pairwise (M, M) without the diagonal."""
    others = ~np.eye(len(pairwise), dtype=bool)
    return np.array([np.median(pairwise[others[:, i], i]) for i in range(len(pairwise))])


def _relative_strength(strengths: FloatArray, axis: int) -> FloatArray:
    total = strengths.sum(axis=axis)
    largest = strengths.max(axis=axis)
    return np.asarray(largest**2 / np.where(total > 0, total, 1.0))


def _standardise(codes: FloatArray) -> FloatArray:
    """Return codes (M, N, Z) with mean 0 and variance 1 per column; a column constant to rounding becomes 0."""
    mean = codes.mean(axis=1, keepdims=True)
    centred = codes - mean
    variance = (centred**2).mean(axis=1, keepdims=True)
    rounding = (codes.shape[1] * np.finfo(np.float64).eps * np.abs(mean)) ** 2
    constant = variance <= rounding
    return np.asarray(np.where(constant, 0.0, centred / np.sqrt(np.where(constant, 1.0, variance))))


def _spearman(codes: FloatArray) -> FloatArray:
    """Return the absolute rank correlations (M, M, Z, Z) of all columns, ranked once; 0 for constant columns."""
    from scipy.stats import rankdata

    models, points, latents = codes.shape
    ranks = _standardise(rankdata(codes, axis=1)).transpose(0, 2, 1).reshape(models * latents, points)
    together = np.abs(ranks @ ranks.T / points).reshape(models, latents, models, latents).transpose(0, 2, 1, 3)
    together[np.arange(models), np.arange(models)] = 0.0
    return np.asarray(together)


def _run_lasso(data: Inputs, budget: str, seed: int) -> UDR:
    return udr(data.codes, data.nats, "lasso", budget=budget)


def _run_spearman(data: Inputs, budget: str, seed: int) -> UDR:
    return udr(data.codes, data.nats, "spearman", budget=budget)


METRICS.register("udr")(Metric(UDR, _run_lasso, "ranking"))
METRICS.register("udr_spearman")(Metric(UDR, _run_spearman, "ranking"))
