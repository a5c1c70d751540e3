"""The checks of codes (N, Z) and factors (N, K) that all metrics share, for lists, numpy arrays and torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.types import FloatArray, IntArray

__all__ = ["MINIMUM_POINTS", "as_array", "as_codes", "as_codes_and_factors", "as_factors"]

MINIMUM_POINTS = 20
"""The fewest points that a metric of codes and factors accepts."""


def as_array(values: ArrayLike, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Return `values` as a real numpy array; a torch tensor is detached and copied to the CPU.

    Raises:
        UserError: The values are not numbers, or rows differ in length.
    """
    detach = getattr(values, "detach", None)
    try:
        array = np.asarray(values if detach is None else detach().cpu())
    except ValueError as error:
        raise UserError(name, "must be one rectangular array", "give rows of equal length") from error
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} of type {array.dtype}", "must hold real numbers", "convert them to float or int")
    return array


def as_codes(codes: ArrayLike, name: str = "codes", minimum: int = MINIMUM_POINTS, dimensions: int = 2) -> FloatArray:
    """Return codes of shape (N, Z), or (M, N, Z) where `dimensions` is 3, as float32 or float64.

    Args:
        codes: The codes, one value per point and latent. What is neither float32 nor float64 becomes float64.
        name: The name of the array in messages.
        minimum: The fewest points that are accepted.
        dimensions: The number of axes; the last two are points and latents.

    Raises:
        UserError: The number of axes is wrong, a value is not finite, there are too few points, or there are more
            latents than points.
    """
    array = as_array(codes, name)
    letters = "(M, N, Z)" if dimensions == 3 else "(N, Z)"
    if array.ndim != dimensions:
        raise UserError(f"{name} of shape {array.shape}", f"must have shape {letters}", "reshape them")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    points, latents = array.shape[-2:]
    if latents == 0:
        raise UserError(f"{name} of shape {array.shape}", "must have at least one latent", "give codes with Z >= 1")
    if points < minimum:
        raise UserError(f"{name} with {points} points", f"needs at least {minimum}", "give more points")
    if latents > points:
        raise UserError(
            f"{name} of shape {array.shape}",
            f"has more latents ({latents}) than points ({points})",
            "give one row per point, or transpose",
        )
    if not np.isfinite(array).all():
        bad_values = int(np.count_nonzero(~np.isfinite(array)))
        raise UserError(
            f"{name} with {bad_values} NaN or infinite values", "must be finite", "drop those points or models"
        )
    return array


def as_factors(factors: ArrayLike, name: str = "factors") -> IntArray:
    """Return factors of shape (N, K) as class numbers, which count the distinct values of a column from 0.

    Raises:
        UserError: The shape is not (N, K), a value is not finite, a factor has one value only, or all values of a
            factor differ, so that it is continuous and has to be binned first.
    """
    array = as_array(factors, name)
    if array.ndim != 2 or array.shape[1] == 0:
        raise UserError(f"{name} of shape {array.shape}", "must have shape (N, K)", "give one column per factor")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{name} with NaN or infinite values", "must be finite", "drop the points without labels")
    classes = np.empty(array.shape, dtype=np.int64)
    for k in range(array.shape[1]):
        values, classes[:, k] = np.unique(array[:, k], return_inverse=True)
        if len(values) < 2:
            raise UserError(
                f"{name}, column {k}", "has one value only, so nothing can be learned about it", "drop the column"
            )
        if len(values) == len(array) and len(array) >= MINIMUM_POINTS:
            raise UserError(
                f"{name}, column {k}",
                f"has {len(values)} values in {len(array)} points, none of them twice",
                "bin it first, for example with pbt_disent.metrics.discretise",
            )
    return classes


def as_codes_and_factors(
    codes: ArrayLike, factors: ArrayLike, minimum: int = MINIMUM_POINTS, prefix: str = ""
) -> tuple[FloatArray, IntArray]:
    """Return codes of shape (N, Z) and class numbers of shape (N, K) with matching rows.

    Args:
        codes: The codes.
        factors: The class labels of the factors.
        minimum: The fewest points that are accepted.
        prefix: The prefix of both names in messages, such as ``test_``.

    Raises:
        UserError: As for `as_codes` and `as_factors`, or the numbers of rows differ.
    """
    checked = as_codes(codes, f"{prefix}codes", minimum)
    labels = as_array(factors, f"{prefix}factors")
    if labels.ndim == 2 and len(labels) != len(checked):
        raise UserError(
            f"{prefix}codes of shape {checked.shape} and {prefix}factors of shape {labels.shape}",
            "must have the same number of rows",
            "give one row of factors per point",
        )
    return checked, as_factors(labels, f"{prefix}factors")
