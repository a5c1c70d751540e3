"""Gradient boosted trees (Friedman 2001, algorithm 6) for all classes of a factor at once, from histograms of codes.

The model is that of scikit-learn's `GradientBoostingClassifier` with its defaults: 100 rounds, one tree of depth 3 per
class and round (one in all for two classes), splits that reduce the squared error of the residuals most, one Newton
step per leaf, learning rate 0.1. A latent's importance is its share of all reductions.

It is faster for three reasons. A class's thresholds lie only between neighbouring points of which one is in the class
and one is not, where the best first split always is (Fayyad and Irani 1992). All trees of a round grow together. And
only the smaller child of a node is summed; what is left of the node is the larger.

C trees per round, B bins at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Boosted", "boosted_trees"]

DEPTH = 3
RATE = 0.1
TIE = 1e-6
SMALLEST_CURVATURE = 1e-30

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class Boosted:
    """What the fitted trees say.

    Args:
        importance: (Z,), sums to 1; 0 where no split helped.
        predicted: (N,) labels of the training points.
        test_predicted: (N',) labels of the test points.
    """

    importance: FloatArray
    predicted: IntArray
    test_predicted: IntArray


def boosted_trees(
    codes: FloatArray, labels: IntArray, test_codes: FloatArray, *, rounds: int = 100, seed: int = 0
) -> Boosted:
    """Fit labels (N,) by codes (N, Z), and predict those of test codes (N', Z).

    Args:
        codes: (N, Z).
        labels: (N,) any whole numbers.
        test_codes: (N', Z).
        rounds: trees per class.
        seed: of the choice between equally good latents.
    """
    known, numbers = np.unique(labels, return_inverse=True)
    importance = np.zeros(codes.shape[1])
    if len(known) == 1:
        return Boosted(importance, labels, np.full(len(test_codes), known[0]))
    members = numbers == np.arange(len(known))[:, None]
    first = 1 if len(known) == 2 else 0
    members = members[first:]
    shrink = 1.0 if first else (len(known) - 1) / len(known)
    bins = _Bins(codes, test_codes, members)
    rng = Streams(seed).generator("metrics", "boosting")
    share = members.mean(axis=1)
    start = np.log(share / (1.0 - share)) if first else np.log(share)
    values = np.repeat(start[:, None], len(codes) + len(test_codes), axis=1).astype(np.float32)
    for _ in range(rounds):
        chance = _softmax(values[:, : len(codes)], first)
        residuals = members - chance
        leaves, gains = _grow(bins, residuals, rng)
        importance += gains
        values += np.float32(RATE * shrink) * _steps(leaves, residuals, chance)
    predicted = known[_with_reference(values, first).argmax(axis=0)]
    total = importance.sum()
    return Boosted(importance / total if total > 0 else importance, predicted[: len(codes)], predicted[len(codes) :])


class _Bins:
    """Every point's bin, for each latent and tree.

    Args:
        codes: (N, Z).
        test_codes: (N', Z).
        members: (C, N) which points are in the class of each tree.
    """

    def __init__(self, codes: FloatArray, test_codes: FloatArray, members: BoolArray) -> None:
        self.trees, self.points = members.shape
        self.latents = codes.shape[1]
        smallest = np.min_scalar_type(self.points)
        self.numbers = np.empty((self.latents, self.trees, self.points + len(test_codes)), dtype=smallest)
        for latent, (column, test_column) in enumerate(zip(codes.T, test_codes.T, strict=True)):
            self.numbers[latent] = _cut(column, test_column, members)
        self.most = int(self.numbers[:, :, : self.points].max()) + 1
        rows = np.arange(self.trees)[:, None] * self.latents + np.arange(self.latents)
        training = self.numbers[:, :, : self.points].transpose(1, 2, 0)
        self._cells = (training + rows[:, None, :] * self.most).astype(np.int32)
        self._ones = np.ones(self._cells.size, dtype=np.float32)
        self._whole = self._table(self._cells)
        self._counts = self._accumulate(self._whole, self._ones[: members.size])

    def sums(self, residuals: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return sums of residuals (C, N) and numbers of points up to and with each bin, both (C, Z, B)."""
        return self._accumulate(self._whole, residuals.ravel()), self._counts

    def sums_of(self, chosen: BoolArray, residuals: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the same for those points of each tree that are chosen (C, N)."""
        table = self._table(self._cells[chosen])
        return self._accumulate(table, residuals[chosen]), self._accumulate(table, self._ones[: table.shape[1]])

    def _table(self, cells: IntArray) -> Any:
        """Return what adds up the values of points by cell, given the cells (..., Z) that each point falls into."""
        from scipy.sparse import csc_array

        starts = np.arange(0, cells.size + 1, self.latents, dtype=np.int32)
        shape = (self.trees * self.latents * self.most, len(starts) - 1)
        return csc_array((self._ones[: cells.size], cells.ravel(), starts), shape=shape)

    def _accumulate(self, table: Any, values: FloatArray) -> FloatArray:
        each = (table @ values).reshape(self.trees, self.latents, self.most)
        return np.asarray(np.cumsum(each, axis=2, out=each))


def _cut(column: FloatArray, test_column: FloatArray, members: BoolArray) -> IntArray:
    """Return the bins (C, N + N') of one latent, cut wherever two neighbouring values are not all in or all out."""
    order = np.argsort(column, kind="stable")
    values, starts = np.unique(column[order], return_index=True)
    inside = members[:, order]
    some, every = np.logical_or.reduceat(inside, starts, axis=1), np.logical_and.reduceat(inside, starts, axis=1)
    alike = (every[:, 1:] & every[:, :-1]) | ~(some[:, 1:] | some[:, :-1])
    numbers = np.concatenate([np.zeros((len(members), 1), dtype=np.int64), np.cumsum(~alike, axis=1)], axis=1)
    middles = (values[1:] + values[:-1]) / 2.0
    return np.asarray(numbers[:, np.searchsorted(middles, np.concatenate([column, test_column]))])


def _grow(bins: _Bins, residuals: FloatArray, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """Grow one tree per class: return every point's leaf (C, N + N') and the reduction by latent (Z,)."""
    leaves = np.zeros(bins.numbers.shape[1:], dtype=np.int8)
    gains = np.zeros(bins.latents)
    trees = np.arange(bins.trees)
    nodes = [bins.sums(residuals)]
    for level in range(DEPTH):
        children = []
        in_smaller = np.zeros(leaves.shape, dtype=bool)
        for node, (sums, counts) in enumerate(nodes):
            latents, cuts, reductions = _best_splits(sums, counts, rng)
            np.add.at(gains, latents, reductions)
            right_is_smaller = 2.0 * counts[trees, latents, cuts] >= counts[:, 0, -1]
            right = bins.numbers[latents, trees] > cuts.astype(bins.numbers.dtype)[:, None]
            smaller = (right == right_is_smaller[:, None]) & (leaves == node)
            in_smaller |= smaller
            if level < DEPTH - 1:
                fewer = bins.sums_of(smaller[:, : bins.points], residuals)
                children += [(sums - fewer[0], counts - fewer[1]), fewer]
        leaves = (2 * leaves + in_smaller).astype(np.int8)
        nodes = children
    return leaves, gains


def _best_splits(
    sums: FloatArray, counts: FloatArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return each tree's best latent (C,), the last bin to its left (C,) and the reduction of the squared error (C,).

    Args:
        sums: (C, Z, B) of the residuals of one node up to and with each bin.
        counts: (C, Z, B) of its points.
        rng: chooses between equally good latents.
    """
    whole, size = sums[:, :1, -1:], counts[:, :1, -1:]
    reductions = sums * size
    reductions -= counts * whole
    reductions *= reductions
    sides = size - counts
    sides *= counts
    sides[sides == 0] = np.inf
    reductions /= sides
    cuts = reductions.argmax(axis=2)
    best = np.take_along_axis(reductions, cuts[:, :, None], axis=2)[:, :, 0]
    latents = (best * (1.0 + TIE * rng.random(best.shape))).argmax(axis=1)
    trees = np.arange(len(sums))
    return latents, cuts[trees, latents], best[trees, latents] / np.maximum(size[:, 0, 0], 1.0)


def _steps(leaves: IntArray, residuals: FloatArray, chance: FloatArray) -> FloatArray:
    """Return the Newton step (C, N + N') of every point's leaf; 0 where the training points leave nothing to gain."""
    cells = leaves + (np.arange(len(leaves)) * 2**DEPTH)[:, None]
    training = cells[:, : residuals.shape[1]].ravel()
    size = len(leaves) * 2**DEPTH
    slope = np.bincount(training, residuals.ravel(), size)
    curvature = np.bincount(training, (chance * (1.0 - chance)).ravel(), size)
    steps = np.where(curvature > SMALLEST_CURVATURE, slope / np.maximum(curvature, SMALLEST_CURVATURE), 0.0)
    return np.asarray(steps.astype(np.float32)[cells])


def _with_reference(values: FloatArray, first: int) -> FloatArray:
    """Put the class that has no tree of its own, with value 0, before the others."""
    return np.concatenate([np.zeros((first, values.shape[1]), dtype=values.dtype), values])


def _softmax(values: FloatArray, first: int) -> FloatArray:
    whole = _with_reference(values, first)
    chance = np.exp(whole - whole.max(axis=0))
    return np.asarray((chance / chance.sum(axis=0))[first:])
