"""The beta-VAE score and the FactorVAE score, as disentanglement_lib computes them.

Both are made of votes. For one vote a factor is fixed, and a batch of points that share its value is drawn. The
beta-VAE score is the accuracy of a linear classifier that tells which factor was fixed; the FactorVAE score that of a
majority vote by the latent that varies least in the batch. Batches are drawn from the labelled points, many votes at
once.

Shapes: V votes of B points, N points, Z latents, K factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import as_codes_and_factors
from pbt_disent.metrics._supervised import fit_quietly
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, check_metric_budget, register_metric
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["BetaVAEScore", "FactorVAEScore", "PointsByFactor", "beta_vae", "factor_vae"]

VOTES = {"protocol": (10_000, 5_000), "fast": (2_000, 2_000)}
VOTES_AT_ONCE = 500
ROUNDING = 1e-12
"""The share of the sum of squares below which a spread is the rounding error of 0."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BetaVAEScore(MetricResult):
    """The beta-VAE score.

    Args:
        score: The accuracy on the evaluation votes.
        train_accuracy: The accuracy on the training votes.
    """

    train_accuracy: float


@dataclass(frozen=True, eq=False, kw_only=True)
class FactorVAEScore(MetricResult):
    """The FactorVAE score.

    Args:
        score: The accuracy of the majority classifier on the evaluation votes, 0 if no latent is active.
        train_accuracy: The accuracy on the training votes.
        active: Which latents vary enough to be voted for, of shape (Z,).
        votes: The numbers of training votes, of shape (K, Z).
    """

    train_accuracy: float
    active: np.ndarray[Any, np.dtype[np.bool_]]
    votes: IntArray


def beta_vae(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    seed: int = 0,
    batch: int = 64,
    num_train: int | None = None,
    num_eval: int | None = None,
    budget: str = "protocol",
) -> BetaVAEScore:
    """Return the beta-VAE score (Higgins et al. 2017, ICLR, section 3).

    For one vote, pairs of points are drawn that share the value of one factor, the same factor for the whole batch. Its
    feature is the mean over the pairs of |z - z'|. The score is the accuracy of a logistic regression from features to
    factors. With one factor there is nothing to tell apart, and the score is 1.

    Args:
        codes: The codes, an array of shape (N, Z).
        factors: The class labels of the factors, an array of shape (N, K).
        seed: The seed of the draws.
        batch: The number of pairs per vote.
        num_train: The number of votes that the classifier is fitted on; by default 10,000 (``protocol``) or 2,000
            (``fast``).
        num_eval: The number of votes that it is measured on; by default 5,000 or 2,000.
        budget: The budget, ``protocol`` or ``fast``.

    Raises:
        UserError: The input is bad, or a batch is empty, or there are no votes.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import beta_vae
        >>> rng = np.random.default_rng(0)
        >>> factors = rng.integers([3, 4], size=(600, 2))
        >>> round(beta_vae(factors, factors, num_train=500, num_eval=500).score, 2)
        1.0
        >>> round(beta_vae(rng.normal(size=(600, 2)), factors, num_train=500, num_eval=500).score, 1)
        0.6
    """
    from sklearn.linear_model import LogisticRegression

    train_votes, eval_votes = _vote_counts(budget, batch, 1, num_train, num_eval)
    checked, classes = as_codes_and_factors(codes, factors)
    values = np.ascontiguousarray(checked, dtype=np.float64)
    points, streams = PointsByFactor(classes), Streams(seed)
    provenance = Provenance(
        budget,
        {"points": len(checked), "train_votes": train_votes, "eval_votes": eval_votes},
        {"batch": batch},
        seed,
    )
    if classes.shape[1] == 1:
        return BetaVAEScore(score=1.0, provenance=provenance, train_accuracy=1.0)
    train = _pair_features(values, points, train_votes, batch, streams.generator("beta_vae", "train"))
    test = _pair_features(values, points, eval_votes, batch, streams.generator("beta_vae", "eval"))
    model = fit_quietly(LogisticRegression(), *train)
    return BetaVAEScore(
        score=float(model.score(*test)),
        provenance=provenance,
        train_accuracy=float(model.score(*train)),
    )


def _pair_features(
    codes: FloatArray, points: PointsByFactor, votes: int, batch: int, rng: np.random.Generator
) -> tuple[FloatArray, IntArray]:
    """Return the features (V, Z) of votes on codes (N, Z), and the fixed factor of each vote (V,)."""
    fixed = rng.integers(points.num_factors, size=votes)
    features = np.empty((votes, codes.shape[1]))
    averaging = np.full(batch, 1.0 / batch)
    for start in range(0, votes, VOTES_AT_ONCE):
        chunk = slice(start, min(start + VOTES_AT_ONCE, votes))
        first = rng.integers(len(codes), size=(chunk.stop - start, batch))
        second = points.draw_sharing(first, fixed[chunk], batch, rng)
        differences = codes.take(first, axis=0)
        differences -= codes.take(second, axis=0)
        np.matmul(averaging, np.abs(differences, out=differences), out=features[chunk])
    return features, fixed


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
    """Return the FactorVAE score (Kim and Mnih 2018, arXiv 1802.05983, section 4).

    For one vote, a batch of points is drawn that share the value of one factor. It votes for the active latent whose
    variance in the batch is smallest relative to its variance overall. The score is the accuracy of the majority
    classifier that maps latents to factors.

    Args:
        codes: The codes, an array of shape (N, Z), in the units of the prior.
        factors: The class labels of the factors, an array of shape (N, K).
        seed: The seed of the draws.
        batch: The number of points per vote.
        num_train: The number of votes that the classifier is fitted on; by default 10,000 (``protocol``) or 2,000
            (``fast``).
        num_eval: The number of votes that it is measured on; by default 5,000 or 2,000.
        threshold: The standard deviation below which a latent is never voted for, in units of the prior's.
        budget: The budget, ``protocol`` or ``fast``.

    Raises:
        UserError: The input is bad, or there are fewer than two points in a batch, or no votes.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import factor_vae
        >>> factors = np.random.default_rng(0).integers([3, 4], size=(600, 2))
        >>> result = factor_vae(factors[:, [1, 0]], factors, num_train=500, num_eval=500)
        >>> round(result.score, 2), result.votes.argmax(axis=1).tolist()
        (1.0, [1, 0])
    """
    train_votes, eval_votes = _vote_counts(budget, batch, 2, num_train, num_eval)
    checked, classes = as_codes_and_factors(codes, factors)
    values = checked.astype(np.float64)
    variance = values.var(axis=0, ddof=1)
    active = (np.sqrt(variance) >= threshold) & (np.ptp(values, axis=0) > 0)
    provenance = Provenance(
        budget,
        {"points": len(values), "train_votes": train_votes, "eval_votes": eval_votes},
        {"batch": batch, "threshold": threshold},
        seed,
    )
    votes, test_votes = np.zeros((2, classes.shape[1], values.shape[1]), dtype=np.int64)
    if not active.any():
        return FactorVAEScore(score=0.0, provenance=provenance, train_accuracy=0.0, active=active, votes=votes)
    scaled = (values[:, active] - values[:, active].mean(axis=0)) / np.sqrt(variance[active])
    points, streams = PointsByFactor(classes), Streams(seed)
    votes[:, active] = _count_votes(scaled, points, train_votes, batch, streams.generator("factor_vae", "train"))
    test_votes[:, active] = _count_votes(scaled, points, eval_votes, batch, streams.generator("factor_vae", "eval"))
    majority, latents = votes.argmax(axis=0), np.arange(values.shape[1])
    return FactorVAEScore(
        score=float(test_votes[majority, latents].sum() / eval_votes),
        provenance=provenance,
        train_accuracy=float(votes[majority, latents].sum() / train_votes),
        active=active,
        votes=votes,
    )


def _count_votes(
    scaled: FloatArray, points: PointsByFactor, votes: int, batch: int, rng: np.random.Generator
) -> IntArray:
    """Return how often each factor (rows) led to a vote for each active latent (columns) of scaled codes (N, Z).

    A batch is a row of ones in a sparse matrix (V, N), whose product with codes and their squares gives its sums.
    """
    from scipy.sparse import csr_array

    num_points, latents = scaled.shape
    moments = np.ascontiguousarray(np.concatenate([scaled, scaled**2], axis=1))
    table = np.zeros((points.num_factors, latents), dtype=np.int64)
    for start in range(0, votes, VOTES_AT_ONCE):
        size = min(VOTES_AT_ONCE, votes - start)
        fixed = rng.integers(points.num_factors, size=size)
        first = rng.integers(num_points, size=(size, 1))
        drawn = points.draw_sharing(first, fixed, batch, rng)
        row_starts = np.arange(0, drawn.size + 1, batch)
        batches = csr_array((np.ones(drawn.size), drawn.ravel(), row_starts), (size, num_points))
        sums, squares = np.hsplit(batches @ moments, 2)
        spread = squares - sums**2 / batch
        spread[spread < ROUNDING * squares] = 0.0
        np.add.at(table, (fixed, spread.argmin(axis=1)), 1)
    return table


def _vote_counts(
    budget: str, batch: int, smallest_batch: int, num_train: int | None, num_eval: int | None
) -> tuple[int, int]:
    """Return the numbers of training and evaluation votes, by default those of the budget.

    Raises:
        UserError: The budget is unknown, a batch is smaller than the smallest, or there are no votes.
    """
    check_metric_budget(budget)
    train, evaluation = VOTES[budget]
    train, evaluation = train if num_train is None else num_train, evaluation if num_eval is None else num_eval
    if batch < smallest_batch or min(train, evaluation) < 1:
        raise UserError(
            f"batch={batch}, num_train={train}, num_eval={evaluation}",
            f"must be at least {smallest_batch}, 1 and 1",
            "use 64, 10000 and 5000, the published numbers",
        )
    return train, evaluation


class PointsByFactor:
    """The labelled points, grouped by the value of each factor.

    Args:
        classes: The class numbers, of shape (N, K).
    """

    def __init__(self, classes: IntArray) -> None:
        self.num_factors = classes.shape[1]
        self._index_type = np.int32 if len(classes) <= np.iinfo(np.int32).max else np.int64
        self._classes = np.ascontiguousarray(classes.T)
        self._order = np.argsort(self._classes, axis=1, kind="stable").astype(self._index_type)
        self._counts = [np.bincount(column) for column in self._classes]
        self._starts = [(np.cumsum(counts) - counts).astype(self._index_type) for counts in self._counts]

    def draw_sharing(self, rows: IntArray, factors: IntArray, batch: int, rng: np.random.Generator) -> IntArray:
        """Draw points that share the value of a factor with other points, with replacement.

        Args:
            rows: The other points, of shape (V, B) for one draw each, or (V, 1) for B draws for the same point.
            factors: The number of the factor whose value is shared in each row, of shape (V,).
            batch: The number of draws per row, B.
            rng: The source of the draws.

        Returns:
            The numbers of the points, of shape (V, B).
        """
        drawn = np.empty((len(rows), batch), dtype=self._index_type)
        uniform = rng.random(drawn.shape)
        for k, classes in enumerate(self._classes):
            votes = np.flatnonzero(factors == k)
            values = classes.take(rows[votes])
            positions = (uniform[votes] * self._counts[k].take(values)).astype(self._index_type)
            positions += self._starts[k].take(values)
            drawn[votes] = self._order[k].take(positions)
        return drawn


@register_metric("beta_vae", BetaVAEScore, costly=True)
def _run_beta_vae(inputs: MetricInputs, budget: str, seed: int) -> BetaVAEScore:
    return beta_vae(inputs.codes, inputs.require("factors"), seed=seed, budget=budget)


@register_metric("factor_vae", FactorVAEScore, costly=True)
def _run_factor_vae(inputs: MetricInputs, budget: str, seed: int) -> FactorVAEScore:
    return factor_vae(inputs.codes, inputs.require("factors"), seed=seed, budget=budget)
