"""The FactorVAE score (Kim and Mnih 2018, arXiv 1802.05983, section 4), as disentanglement_lib computes it.

A vote: fix one factor, draw a batch of points that share its value, and name the active latent whose variance in
the batch is smallest relative to its variance overall. The score is the accuracy of the majority classifier that
maps latents to factors. Here batches are drawn from the labelled points given, all votes at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._arrays import as_pair
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics._votes import VOTES_AT_ONCE, Groups, vote_counts
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["FactorVAEScore", "factor_vae"]

ROUNDING = 1e-12
"""A spread below this share of the sum of squares is none: it is what two equal sums differ by."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FactorVAEScore(Result):
    """FactorVAE score.

    Args:
        score: share of evaluation votes that the majority classifier gets right; 0 if no latent is active.
        train_accuracy: the same on the training votes.
        active: (Z,) which latents vary enough to be voted for.
        votes: (K, Z) training votes.
    """

    train_accuracy: float
    active: np.ndarray[Any, np.dtype[np.bool_]]
    votes: IntArray


def factor_vae(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int = 0,
    batch: int = 64,
    num_train: int | None = None,
    num_eval: int | None = None,
    threshold: float = 0.05,
    budget: str = "protocol",
) -> FactorVAEScore:
    """Return the FactorVAE score of codes (N, Z) over factors (N, K).

    Args:
        codes: (N, Z), in the units of the prior: `threshold` depends on them.
        factors: (N, K) class labels.
        seed: of the draws.
        batch: points per vote.
        num_train: votes the classifier is fitted on; by budget 10,000 (protocol) or 2,000 (fast).
        num_eval: votes it is measured on; by budget 5,000 or 2,000.
        threshold: latents whose codes have a smaller standard deviation are never voted for.
        budget: ``protocol`` or ``fast``.

    Raises:
        UserError: bad input, or fewer than two points in a batch or one vote.
    """
    train_votes, eval_votes = vote_counts(budget, batch, 2, num_train, num_eval)
    checked, classes = as_pair(codes, factors)
    values = checked.astype(np.float64)
    variance = values.var(axis=0, ddof=1)
    active = (np.sqrt(variance) >= threshold) & (np.ptp(values, axis=0) > 0)
    record = Record(
        budget,
        {"points": len(values), "train_votes": train_votes, "eval_votes": eval_votes},
        {"batch": batch, "threshold": threshold},
        seed,
    )
    empty = np.zeros((classes.shape[1], values.shape[1]), dtype=np.int64)
    if not active.any():
        return FactorVAEScore(score=0.0, record=record, train_accuracy=0.0, active=active, votes=empty)
    scaled = (values[:, active] - values[:, active].mean(axis=0)) / np.sqrt(variance[active])
    groups, streams = Groups(classes), Streams(seed)
    tables = []
    for name, votes in (("train", train_votes), ("eval", eval_votes)):
        table = empty.copy()
        table[:, active] = _count(scaled, groups, empty.shape[0], votes, batch, streams.generator("factor_vae", name))
        tables.append(table)
    chosen, latents = tables[0].argmax(axis=0), np.arange(values.shape[1])
    return FactorVAEScore(
        score=float(tables[1][chosen, latents].sum() / eval_votes),
        record=record,
        train_accuracy=float(tables[0][chosen, latents].sum() / train_votes),
        active=active,
        votes=tables[0],
    )


def _count(
    scaled: FloatArray, groups: Groups, factors: int, votes: int, batch: int, rng: np.random.Generator
) -> IntArray:
    """Return how often each factor (rows) led to a vote for each active latent (columns) of scaled codes (N, Z).

    A batch is a row of ones in a sparse matrix (V, N), whose product with codes and their squares gives its sums.
    """
    from scipy.sparse import csr_array

    points, latents = scaled.shape
    moments = np.ascontiguousarray(np.concatenate([scaled, scaled**2], axis=1))
    table = np.zeros((factors, latents), dtype=np.int64)
    for start in range(0, votes, VOTES_AT_ONCE):
        size = min(VOTES_AT_ONCE, votes - start)
        fixed = rng.integers(factors, size=size)
        first = rng.integers(points, size=(size, 1))
        drawn = groups.partners(first, fixed, batch, rng)
        batches = csr_array((np.ones(drawn.size), drawn.ravel(), np.arange(0, drawn.size + 1, batch)), (size, points))
        sums, squares = np.hsplit(batches @ moments, 2)
        spread = squares - sums**2 / batch
        spread[spread < ROUNDING * squares] = 0.0
        np.add.at(table, (fixed, spread.argmin(axis=1)), 1)
    return table


def _run(data: Inputs, budget: str, seed: int) -> FactorVAEScore:
    return factor_vae(data.codes, data.labels, seed=seed, budget=budget)


METRICS.register("factor_vae")(Metric(FactorVAEScore, _run, costly=True))
