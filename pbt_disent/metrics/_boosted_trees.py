"""Boosted trees that predict the factors from the codes, for DCI and for downstream accuracy.

``protocol`` fits scikit-learn's `GradientBoostingClassifier` with its defaults, as disentanglement_lib does. At the
published 10,000 points a factor of 40 values takes minutes, so the factors are fitted side by side (the trees grow
outside Python's lock), and the last fits are remembered: DCI and downstream accuracy ask for the same ones.

``fast`` fits the same model from histograms (Friedman 2001, algorithm 6): 100 rounds, one tree of depth 3 per class and
round (one in all for two classes), splits that reduce the squared error of the residuals most, one Newton step per
leaf, learning rate 0.1. It is faster for three reasons. The thresholds of a class lie only between neighbouring points
of which one is in the class and one is not, where the best first split always is (Fayyad and Irani 1992). All trees of
a round grow together. And only the smaller child of a node is summed; the rest of the node is the larger child.

Shapes: C trees per round, at most B bins per latent, N training and N' test points.
"""

# The histogram trees are our own because no library fits the published model, or is faster. LightGBM 4.7 and
# scikit-learn's HistGradientBoostingClassifier split by a second-order gain, and give ties to the first latent. At
# 2,000 points of the reference their importances move by up to 0.07 and 0.12 (ours: 0.02), and of two equal latents the
# first gets everything (ours: half). The five factors of dSprites take 5.3 s and 10.8 s on one core (ours: 3.4 s).
# LightGBM also aborts where leaves may be as small as published, and scikit-learn keeps the gains of splits private.

from __future__ import annotations

import hashlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from pbt_disent.machine import usable_cpus
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["FittedTrees", "exact_trees", "fit_trees", "histogram_trees"]

DEPTH = 3
LEARNING_RATE = 0.1
TIE = 1e-6
"""The relative difference below which two splits count as equally good."""
SMALLEST_CURVATURE = 1e-30
REMEMBERED_FITS = 32

_CACHE_LOCK = Lock()
_CACHE: OrderedDict[bytes, FittedTrees] = OrderedDict()

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class FittedTrees:
    """What the trees that were fitted to one factor say.

    Args:
        importance: The importance of each latent, of shape (Z,). It sums to 1, or is 0 where no split helped.
        train_predictions: The predicted labels of the training points, of shape (N,).
        test_predictions: The predicted labels of the test points, of shape (N',).
    """

    importance: FloatArray
    train_predictions: IntArray
    test_predictions: IntArray


def fit_trees(
    codes: FloatArray, classes: IntArray, test_codes: FloatArray, *, budget: str, seed: int
) -> list[FittedTrees]:
    """Return the fitted trees of every factor.

    Args:
        codes: The training codes, of shape (N, Z).
        classes: The training classes, of shape (N, K).
        test_codes: The test codes, of shape (N', Z).
        budget: The budget: ``protocol`` fits exact trees and ``fast`` histogram trees.
        seed: The seed of the trees.
    """
    if budget == "fast":
        return [histogram_trees(codes, labels, test_codes, seed=seed) for labels in classes.T]
    with ThreadPoolExecutor(max(1, min(usable_cpus(), classes.shape[1]))) as threads:
        return list(threads.map(lambda labels: _cached_exact_trees(codes, labels, test_codes, seed), classes.T))


def _cached_exact_trees(codes: FloatArray, labels: IntArray, test_codes: FloatArray, seed: int) -> FittedTrees:
    content = hashlib.sha256(repr((codes.shape, codes.dtype, test_codes.shape, test_codes.dtype, seed)).encode())
    for array in (codes, labels, test_codes):
        content.update(array.tobytes())
    key = content.digest()
    with _CACHE_LOCK:
        if key in _CACHE:
            _CACHE.move_to_end(key)
            return _CACHE[key]
    fitted = exact_trees(codes, labels, test_codes, seed)
    with _CACHE_LOCK:
        _CACHE[key] = fitted
        while len(_CACHE) > REMEMBERED_FITS:
            _CACHE.popitem(last=False)
    return fitted


def exact_trees(codes: FloatArray, labels: IntArray, test_codes: FloatArray, seed: int) -> FittedTrees:
    """Return scikit-learn's boosted trees, fitted to one factor with labels of shape (N,)."""
    from sklearn.ensemble import GradientBoostingClassifier

    if len(np.unique(labels)) == 1:
        return _without_splits(codes, labels, test_codes)
    model = GradientBoostingClassifier(random_state=seed).fit(codes, labels)
    return FittedTrees(np.abs(model.feature_importances_), model.predict(codes), model.predict(test_codes))


def histogram_trees(
    codes: FloatArray, labels: IntArray, test_codes: FloatArray, *, rounds: int = 100, seed: int = 0
) -> FittedTrees:
    """Return boosted trees from histograms, fitted to one factor.

    Args:
        codes: The training codes, of shape (N, Z).
        labels: The training labels, of shape (N,), any whole numbers.
        test_codes: The test codes, of shape (N', Z).
        rounds: The number of trees per class.
        seed: The seed of the choice between equally good latents.
    """
    known_labels, classes = np.unique(labels, return_inverse=True)
    if len(known_labels) == 1:
        return _without_splits(codes, labels, test_codes)
    in_class = classes == np.arange(len(known_labels))[:, None]
    reference_classes = 1 if len(known_labels) == 2 else 0
    in_class = in_class[reference_classes:]
    shrinkage = 1.0 if reference_classes else (len(known_labels) - 1) / len(known_labels)
    bins = _BinnedCodes(codes, test_codes, in_class)
    rng = Streams(seed).generator("metrics", "boosting")
    share = in_class.mean(axis=1)
    prior = np.log(share / (1.0 - share)) if reference_classes else np.log(share)
    scores = np.repeat(prior[:, None], len(codes) + len(test_codes), axis=1).astype(np.float32)
    importance = np.zeros(codes.shape[1])
    for _ in range(rounds):
        probabilities = _softmax(scores[:, : len(codes)], reference_classes)
        residuals = in_class - probabilities
        leaves, reductions = _grow_trees(bins, residuals, rng)
        importance += reductions
        scores += np.float32(LEARNING_RATE * shrinkage) * _newton_steps(leaves, residuals, probabilities)
    predictions = known_labels[_with_reference_class(scores, reference_classes).argmax(axis=0)]
    total = importance.sum()
    importance = importance / total if total > 0 else importance
    return FittedTrees(importance, predictions[: len(codes)], predictions[len(codes) :])


def _without_splits(codes: FloatArray, labels: IntArray, test_codes: FloatArray) -> FittedTrees:
    return FittedTrees(np.zeros(codes.shape[1]), labels, np.full(len(test_codes), labels[0]))


class _BinnedCodes:
    """The bin of every point, for each latent and tree.

    Args:
        codes: The training codes, of shape (N, Z).
        test_codes: The test codes, of shape (N', Z).
        in_class: Which training points are in the class of each tree, of shape (C, N).
    """

    def __init__(self, codes: FloatArray, test_codes: FloatArray, in_class: BoolArray) -> None:
        self.trees, self.points = in_class.shape
        self.latents = codes.shape[1]
        number_type = np.min_scalar_type(self.points)
        self.numbers = np.empty((self.latents, self.trees, self.points + len(test_codes)), dtype=number_type)
        for latent, (column, test_column) in enumerate(zip(codes.T, test_codes.T, strict=True)):
            self.numbers[latent] = _cut_at_class_boundaries(column, test_column, in_class)
        self._bins = int(self.numbers[:, :, : self.points].max()) + 1
        rows = np.arange(self.trees)[:, None] * self.latents + np.arange(self.latents)
        train_numbers = self.numbers[:, :, : self.points].transpose(1, 2, 0)
        self._cells = (train_numbers + rows[:, None, :] * self._bins).astype(np.int32)
        self._ones = np.ones(self._cells.size, dtype=np.float32)
        self._all_points = self._summing_matrix(self._cells)
        self._counts = self._cumulative_sums(self._all_points, self._ones[: in_class.size])

    def sums(self, residuals: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return cumulative sums of residuals (C, N) and counts of points over the bins, both of shape (C, Z, B)."""
        return self._cumulative_sums(self._all_points, residuals.ravel()), self._counts

    def sums_over(self, points: BoolArray, residuals: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the same over some points of each tree, given as a mask of shape (C, N)."""
        matrix = self._summing_matrix(self._cells[points])
        counts = self._cumulative_sums(matrix, self._ones[: matrix.shape[1]])
        return self._cumulative_sums(matrix, residuals[points]), counts

    def _summing_matrix(self, cells: IntArray) -> Any:
        """Return the sparse matrix that sums values of points by cell, given the cells (..., Z) of each point."""
        from scipy.sparse import csc_array

        starts = np.arange(0, cells.size + 1, self.latents, dtype=np.int32)
        shape = (self.trees * self.latents * self._bins, len(starts) - 1)
        return csc_array((self._ones[: cells.size], cells.ravel(), starts), shape=shape)

    def _cumulative_sums(self, matrix: Any, values: FloatArray) -> FloatArray:
        sums = (matrix @ values).reshape(self.trees, self.latents, self._bins)
        return np.asarray(np.cumsum(sums, axis=2, out=sums))


def _cut_at_class_boundaries(column: FloatArray, test_column: FloatArray, in_class: BoolArray) -> IntArray:
    """Return the bins (C, N + N') of one latent, cut where two neighbouring values are not all in or all out."""
    order = np.argsort(column, kind="stable")
    values, starts = np.unique(column[order], return_index=True)
    ordered = in_class[:, order]
    any_in, all_in = np.logical_or.reduceat(ordered, starts, axis=1), np.logical_and.reduceat(ordered, starts, axis=1)
    same_side = (all_in[:, 1:] & all_in[:, :-1]) | ~(any_in[:, 1:] | any_in[:, :-1])
    numbers = np.concatenate([np.zeros((len(in_class), 1), dtype=np.int64), np.cumsum(~same_side, axis=1)], axis=1)
    middles = (values[1:] + values[:-1]) / 2.0
    return np.asarray(numbers[:, np.searchsorted(middles, np.concatenate([column, test_column]))])


def _grow_trees(bins: _BinnedCodes, residuals: FloatArray, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """Grow one tree per class; return the leaf of every point (C, N + N') and the reduction by each latent (Z,)."""
    leaves = np.zeros(bins.numbers.shape[1:], dtype=np.int8)
    reductions_by_latent = np.zeros(bins.latents)
    trees = np.arange(bins.trees)
    nodes = [bins.sums(residuals)]
    for level in range(DEPTH):
        children = []
        in_smaller_child = np.zeros(leaves.shape, dtype=bool)
        for node, (sums, counts) in enumerate(nodes):
            latents, cuts, reductions = _best_splits(sums, counts, rng)
            np.add.at(reductions_by_latent, latents, reductions)
            right_is_smaller = 2.0 * counts[trees, latents, cuts] >= counts[:, 0, -1]
            goes_right = bins.numbers[latents, trees] > cuts.astype(bins.numbers.dtype)[:, None]
            smaller_child = (goes_right == right_is_smaller[:, None]) & (leaves == node)
            in_smaller_child |= smaller_child
            if level < DEPTH - 1:
                child_sums, child_counts = bins.sums_over(smaller_child[:, : bins.points], residuals)
                children += [(sums - child_sums, counts - child_counts), (child_sums, child_counts)]
        leaves = (2 * leaves + in_smaller_child).astype(np.int8)
        nodes = children
    return leaves, reductions_by_latent


def _best_splits(
    sums: FloatArray, counts: FloatArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the best latent of each tree, the last bin left of the cut, and the reduction of the squared error.

    Args:
        sums: The cumulative sums of the residuals of one node over the bins, of shape (C, Z, B).
        counts: The cumulative counts of its points, of shape (C, Z, B).
        rng: The source of the choice between equally good latents.
    """
    total, size = sums[:, :1, -1:], counts[:, :1, -1:]
    reductions = sums * size
    reductions -= counts * total
    reductions *= reductions
    denominators = size - counts
    denominators *= counts
    denominators[denominators == 0] = np.inf
    reductions /= denominators
    cuts = reductions.argmax(axis=2)
    best = np.take_along_axis(reductions, cuts[:, :, None], axis=2)[:, :, 0]
    latents = (best * (1.0 + TIE * rng.random(best.shape))).argmax(axis=1)
    trees = np.arange(len(sums))
    return latents, cuts[trees, latents], best[trees, latents] / np.maximum(size[:, 0, 0], 1.0)


def _newton_steps(leaves: IntArray, residuals: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Return the Newton step of every point's leaf (C, N + N'), 0 where the training points leave nothing to gain."""
    cells = leaves + (np.arange(len(leaves)) * 2**DEPTH)[:, None]
    train_cells = cells[:, : residuals.shape[1]].ravel()
    size = len(leaves) * 2**DEPTH
    slope = np.bincount(train_cells, residuals.ravel(), size)
    curvature = np.bincount(train_cells, (probabilities * (1.0 - probabilities)).ravel(), size)
    steps = np.where(curvature > SMALLEST_CURVATURE, slope / np.maximum(curvature, SMALLEST_CURVATURE), 0.0)
    return np.asarray(steps.astype(np.float32)[cells])


def _with_reference_class(scores: FloatArray, reference_classes: int) -> FloatArray:
    """Put the class that has no tree of its own, with score 0, before the others."""
    return np.concatenate([np.zeros((reference_classes, scores.shape[1]), dtype=scores.dtype), scores])


def _softmax(scores: FloatArray, reference_classes: int) -> FloatArray:
    all_scores = _with_reference_class(scores, reference_classes)
    exponentials = np.exp(all_scores - all_scores.max(axis=0))
    return np.asarray((exponentials / exponentials.sum(axis=0))[reference_classes:])
