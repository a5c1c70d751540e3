"""The beta-VAE score (Higgins et al. 2017, section 3): can a linear classifier tell which factor a batch shares?

For one vote draw pairs of points, the two of a pair sharing the value of one factor, the same factor for the whole
batch; the feature is the mean absolute difference of their codes. The score is the accuracy of a logistic
regression from features to factors, as disentanglement_lib measures it. Pairs come from the labelled points given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.metrics._arrays import as_pair
from pbt_disent.metrics._fit import quiet_fit
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics._votes import VOTES_AT_ONCE, Groups, vote_counts
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["BetaVAEScore", "beta_vae"]


@dataclass(frozen=True, eq=False, kw_only=True)
class BetaVAEScore(Result):
    """Beta-VAE score.

    Args:
        score: accuracy on the evaluation votes.
        train_accuracy: accuracy on the training votes.
    """

    train_accuracy: float


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
    """Return the beta-VAE score of codes (N, Z) over factors (N, K).

    With one factor there is nothing to tell apart: the score is 1.

    Args:
        codes: (N, Z).
        factors: (N, K) class labels.
        seed: of the draws.
        batch: pairs per vote.
        num_train: votes the classifier is fitted on; by budget 10,000 (protocol) or 2,000 (fast).
        num_eval: votes it is measured on; by budget 5,000 or 2,000.
        budget: ``protocol`` or ``fast``.

    Raises:
        UserError: bad input, an empty batch or no votes.
    """
    from sklearn.linear_model import LogisticRegression

    train_votes, eval_votes = vote_counts(budget, batch, 1, num_train, num_eval)
    checked, classes = as_pair(codes, factors)
    values = np.ascontiguousarray(checked, dtype=np.float64)
    groups, streams = Groups(classes), Streams(seed)
    record = Record(
        budget,
        {"points": len(checked), "train_votes": train_votes, "eval_votes": eval_votes},
        {"batch": batch},
        seed,
    )
    if classes.shape[1] == 1:
        return BetaVAEScore(score=1.0, record=record, train_accuracy=1.0)
    (features, labels), (test_features, test_labels) = (
        _draw(values, groups, classes.shape[1], votes, batch, streams.generator("beta_vae", name))
        for name, votes in (("train", train_votes), ("eval", eval_votes))
    )
    model = quiet_fit(LogisticRegression(), features, labels)
    return BetaVAEScore(
        score=float(model.score(test_features, test_labels)),
        record=record,
        train_accuracy=float(model.score(features, labels)),
    )


def _draw(
    codes: FloatArray, groups: Groups, factors: int, votes: int, batch: int, rng: np.random.Generator
) -> tuple[FloatArray, IntArray]:
    """Return features (V, Z) of codes (N, Z), and the shared factor (V,) of each vote."""
    shared = rng.integers(factors, size=votes)
    features = np.empty((votes, codes.shape[1]))
    mean = np.full(batch, 1.0 / batch)
    for start in range(0, votes, VOTES_AT_ONCE):
        part = slice(start, min(start + VOTES_AT_ONCE, votes))
        first = rng.integers(len(codes), size=(part.stop - start, batch))
        second = groups.partners(first, shared[part], batch, rng)
        apart = codes.take(first, axis=0)
        apart -= codes.take(second, axis=0)
        np.matmul(mean, np.abs(apart, out=apart), out=features[part])
    return features, shared


def _run(data: Inputs, budget: str, seed: int) -> BetaVAEScore:
    return beta_vae(data.codes, data.labels, seed=seed, budget=budget)


METRICS.register("beta_vae")(Metric(BetaVAEScore, _run, costly=True))
