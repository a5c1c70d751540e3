"""Batches of points that share the value of one factor, drawn from a labelled set, many batches at once."""

from __future__ import annotations

import numpy as np

from pbt_disent.errors import UserError
from pbt_disent.metrics._result import check_budget
from pbt_disent.types import IntArray

__all__ = ["VOTES_AT_ONCE", "Groups", "vote_counts"]

VOTES = {"protocol": (10_000, 5_000), "fast": (2_000, 2_000)}
VOTES_AT_ONCE = 500


def vote_counts(
    budget: str, batch: int, smallest_batch: int, num_train: int | None, num_eval: int | None
) -> tuple[int, int]:
    """Return the numbers of training and evaluation votes: those given, or else the budget's.

    Raises:
        UserError: an unknown budget, a batch smaller than the smallest, or no votes.
    """
    check_budget(budget)
    train, evaluation = VOTES[budget]
    train, evaluation = train if num_train is None else num_train, evaluation if num_eval is None else num_eval
    if batch < smallest_batch or min(train, evaluation) < 1:
        raise UserError(
            f"batch={batch}, num_train={train}, num_eval={evaluation}",
            f"must be at least {smallest_batch}, 1 and 1",
            "use 64, 10000 and 5000, the published numbers",
        )
    return train, evaluation


class Groups:
    """The points of a labelled set by the value of each factor.

    Args:
        classes: (N, K) class numbers.
    """

    def __init__(self, classes: IntArray) -> None:
        number = np.int32 if len(classes) <= np.iinfo(np.int32).max else np.int64
        self._number = number
        self._classes = np.ascontiguousarray(classes.T)
        self._order = np.argsort(self._classes, axis=1, kind="stable").astype(number)
        self._counts = [np.bincount(column) for column in self._classes]
        self._starts = [(np.cumsum(counts) - counts).astype(number) for counts in self._counts]

    def partners(self, rows: IntArray, factors: IntArray, batch: int, rng: np.random.Generator) -> IntArray:
        """Return points that share the value of a factor with given points, drawn with replacement from all such.

        Args:
            rows: (V, B) point numbers, one partner each, or (V, 1) for B partners of the same point.
            factors: (V,) number of the factor that the partners of row v must share.
            batch: B.
            rng: source of the draws.

        Returns:
            Point numbers (V, B).
        """
        found = np.empty((len(rows), batch), dtype=self._number)
        share = rng.random(found.shape)
        for k, classes in enumerate(self._classes):
            mine = np.flatnonzero(factors == k)
            values = classes.take(rows[mine])
            offsets = (share[mine] * self._counts[k].take(values)).astype(self._number)
            offsets += self._starts[k].take(values)
            found[mine] = self._order[k].take(offsets)
        return found
