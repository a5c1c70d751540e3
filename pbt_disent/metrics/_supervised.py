"""What the metrics share that fit a predictor: train and test points, standardised codes, and a quiet fit."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import MINIMUM_POINTS, as_array, as_codes_and_factors, as_factors
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["TrainTestSplit", "fit_quietly", "split_train_test", "standardise"]

TEST_FRACTION = 3
"""One point in this many is held out where there are no test points."""


@dataclass(frozen=True, eq=False)
class TrainTestSplit:
    """Train and test points, with one numbering of the classes for both.

    Args:
        codes: The training codes, of shape (N, Z).
        classes: The training classes, of shape (N, K), numbered from 0.
        values: The factors' own values at the training points, of shape (N, K), as float64.
        test_codes: The test codes, of shape (N', Z).
        test_classes: The test classes, of shape (N', K). A value absent from the training points has its own number.
    """

    codes: FloatArray
    classes: IntArray
    values: FloatArray
    test_codes: FloatArray
    test_classes: IntArray

    @property
    def sizes(self) -> dict[str, int]:
        """The numbers of training and test points, for the provenance."""
        return {"train": len(self.codes), "test": len(self.test_codes)}


def split_train_test(
    codes: ArrayLike,
    factors: ArrayLike,
    test_codes: ArrayLike | None = None,
    test_factors: ArrayLike | None = None,
    seed: int = 0,
) -> TrainTestSplit:
    """Return train and test points. Without test arrays a third of the points, drawn by the seed, is held out.

    Raises:
        UserError: The input is bad, one of the two test arrays comes without the other, train and test points differ
            in Z or K, or a factor has one value only at the training points.
    """
    if (test_codes is None) != (test_factors is None):
        raise UserError("a test half of codes or of factors alone", "must have both", "give both or neither")
    if test_codes is None or test_factors is None:
        as_codes_and_factors(codes, factors)  # report wrong arrays before too few points
        checked, _ = as_codes_and_factors(codes, factors, TEST_FRACTION * MINIMUM_POINTS)
        labels = as_array(factors, "factors")
        order = Streams(seed).generator("metrics", "halves").permutation(len(checked))
        test, train = np.sort(order[: len(checked) // TEST_FRACTION]), np.sort(order[len(checked) // TEST_FRACTION :])
        return split_train_test(checked[train], labels[train], checked[test], labels[test])
    train_codes, _ = as_codes_and_factors(codes, factors)
    checked_test, _ = as_codes_and_factors(test_codes, test_factors, prefix="test_")
    train_labels, test_labels = as_array(factors, "factors"), as_array(test_factors, "test_factors")
    if train_codes.shape[1] != checked_test.shape[1] or train_labels.shape[1] != test_labels.shape[1]:
        raise UserError(
            f"halves with Z = {train_codes.shape[1]} and {checked_test.shape[1]}, "
            f"K = {train_labels.shape[1]} and {test_labels.shape[1]}",
            "must have the same latents and factors",
            "take both halves from the same model and data set",
        )
    classes = as_factors(np.concatenate([train_labels, test_labels]))
    size = len(train_codes)
    return TrainTestSplit(train_codes, classes[:size], train_labels.astype(np.float64), checked_test, classes[size:])


def standardise(reference: FloatArray, codes: FloatArray) -> FloatArray:
    """Return codes (N, Z) in units in which the reference (N', Z) has mean 0 and variance 1; constant latents are 0."""
    reference = reference.astype(np.float64)
    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    scale = np.where(np.ptp(reference, axis=0) > 0, 1.0 / np.where(deviation > 0, deviation, 1.0), 0.0)
    return np.asarray((codes - mean) * scale)


def fit_quietly(model: Any, inputs: FloatArray, targets: IntArray) -> Any:
    """Return the fitted scikit-learn model, without its warning that the published number of iterations ran out."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(inputs, targets)
