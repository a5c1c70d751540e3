"""The FactorVAE and the beta-VAE score with a loop over votes, each drawing its own batch.

Kim and Mnih (2018, section 4) and Higgins et al. (2017, section 3), batches drawn from labelled points. The points of
each factor's values are looked up once and a batch is drawn whole, which a plain loop can do as well; or, if asked for,
searched in the set for every batch.
"""

from __future__ import annotations

import warnings

import numpy as np

from pbt_disent.types import FloatArray, IntArray

__all__ = ["beta_vae_by_votes", "factor_vae_by_votes"]

THRESHOLD = 0.05


def factor_vae_by_votes(
    codes: FloatArray,
    factors: IntArray,
    train: int,
    evaluate: int,
    batch: int = 64,
    seed: int = 0,
    *,
    search: bool = False,
) -> float:
    """Return the FactorVAE score of codes (N, Z) over factors (N, K)."""
    rng = np.random.default_rng(seed)
    spread = codes.var(axis=0, ddof=1)
    active = np.flatnonzero(np.sqrt(spread) >= THRESHOLD)
    lookup = [(_Search if search else _Lookup)(column) for column in factors.T]

    def votes(count: int) -> IntArray:
        table = np.zeros((factors.shape[1], codes.shape[1]), dtype=np.int64)
        for _ in range(count):
            factor, first = int(rng.integers(factors.shape[1])), int(rng.integers(len(codes)))
            drawn = codes[lookup[factor].draw(np.full(batch, factors[first, factor]), rng)]
            table[factor, active[np.argmin(drawn.var(axis=0, ddof=1)[active] / spread[active])]] += 1
        return table

    majority = votes(train).argmax(axis=0)
    return float(votes(evaluate)[majority, np.arange(codes.shape[1])].sum() / evaluate)


def beta_vae_by_votes(
    codes: FloatArray,
    factors: IntArray,
    train: int,
    evaluate: int,
    batch: int = 64,
    seed: int = 0,
    *,
    search: bool = False,
) -> float:
    """Return the beta-VAE score of codes (N, Z) over factors (N, K)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    lookup = [(_Search if search else _Lookup)(column) for column in factors.T]

    def votes(count: int) -> tuple[FloatArray, IntArray]:
        features, labels = [], []
        for _ in range(count):
            factor, first = int(rng.integers(factors.shape[1])), rng.integers(len(codes), size=batch)
            second = lookup[factor].draw(factors[first, factor], rng)
            features.append(np.abs(codes[first] - codes[second]).mean(axis=0))
            labels.append(factor)
        return np.array(features), np.array(labels)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression().fit(*votes(train))
    return float(model.score(*votes(evaluate)))


class _Lookup:
    """The points of one factor by its value.

    Args:
        column: (N,) values, numbered from 0.
    """

    def __init__(self, column: IntArray) -> None:
        self._order = np.argsort(column, kind="stable")
        self._counts = np.bincount(column)
        self._starts = np.cumsum(self._counts) - self._counts

    def draw(self, values: IntArray, rng: np.random.Generator) -> IntArray:
        """Return a point with each of the values (B,), drawn with replacement."""
        offsets = (rng.random(len(values)) * self._counts[values]).astype(np.int64)
        return np.asarray(self._order[self._starts[values] + offsets])


class _Search:
    """The points of one factor, searched whenever a value is asked for.

    Args:
        column: (N,) values.
    """

    def __init__(self, column: IntArray) -> None:
        self._column = column

    def draw(self, values: IntArray, rng: np.random.Generator) -> IntArray:
        """Return a point with each of the values (B,), drawn with replacement; equal values are searched once."""
        found = np.empty(len(values), dtype=np.int64)
        for value in np.unique(values):
            mine = values == value
            found[mine] = rng.choice(np.flatnonzero(self._column == value), size=mine.sum())
        return found
