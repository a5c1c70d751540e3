"""The training half and the test half that predictive metrics need, with one numbering of the classes for both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import MINIMUM_POINTS, as_array, as_factors, as_pair
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["Halves", "halves", "standardised"]

TEST_SHARE = 3


@dataclass(frozen=True, eq=False)
class Halves:
    """Codes and class numbers of both halves, and the factors' own values in the training half.

    Args:
        codes: (N, Z).
        classes: (N, K) class numbers from 0.
        values: (N, K) the factors as given, as float64.
        test_codes: (N', Z).
        test_classes: (N', K), numbered as `classes`; a value absent from the training half has a number of its own.
    """

    codes: FloatArray
    classes: IntArray
    values: FloatArray
    test_codes: FloatArray
    test_classes: IntArray

    @property
    def sizes(self) -> dict[str, int]:
        """Number of points in each half, for the record."""
        return {"train": len(self.codes), "test": len(self.test_codes)}


def halves(
    codes: ArrayLike,
    factors: ArrayLike,
    test_codes: ArrayLike | None = None,
    test_factors: ArrayLike | None = None,
    seed: int = 0,
) -> Halves:
    """Return both halves; without a test half a third of the points, drawn by `seed`, is held out.

    Raises:
        UserError: bad input, one of the two test arrays without the other, halves that differ in Z or K, or a factor
            with one value only in the training half.
    """
    if (test_codes is None) != (test_factors is None):
        raise UserError("a test half of codes or of factors alone", "must have both", "give both or neither")
    if test_codes is None or test_factors is None:
        as_pair(codes, factors)  # what is wrong with the two comes before what is too few to be halved
        whole, _ = as_pair(codes, factors, TEST_SHARE * MINIMUM_POINTS)
        labels = as_array(factors, "factors")
        order = Streams(seed).generator("metrics", "halves").permutation(len(whole))
        held, kept = np.sort(order[: len(whole) // TEST_SHARE]), np.sort(order[len(whole) // TEST_SHARE :])
        return halves(whole[kept], labels[kept], whole[held], labels[held])
    train, _ = as_pair(codes, factors)
    test, _ = as_pair(test_codes, test_factors, prefix="test_")
    given, test_given = as_array(factors, "factors"), as_array(test_factors, "test_factors")
    if train.shape[1] != test.shape[1] or given.shape[1] != test_given.shape[1]:
        raise UserError(
            f"halves with Z = {train.shape[1]} and {test.shape[1]}, K = {given.shape[1]} and {test_given.shape[1]}",
            "must have the same latents and factors",
            "take both halves from the same model and data set",
        )
    numbered = as_factors(np.concatenate([given, test_given]))
    return Halves(train, numbered[: len(train)], given.astype(np.float64), test, numbered[len(train) :])


def standardised(reference: FloatArray, codes: FloatArray) -> FloatArray:
    """Return codes (N, Z) in units in which the reference (N', Z) has mean 0 and variance 1; constant latents are 0."""
    known = reference.astype(np.float64)
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    scale = np.where(np.ptp(known, axis=0) > 0, 1.0 / np.where(deviation > 0, deviation, 1.0), 0.0)
    return np.asarray((codes - mean) * scale)
