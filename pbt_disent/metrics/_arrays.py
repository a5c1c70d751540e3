"""What every metric accepts: codes (N, Z) and factors (N, K), numpy or torch, checked once, one clear error each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.types import FloatArray, IntArray

__all__ = ["MINIMUM_POINTS", "as_array", "as_codes", "as_factors", "as_pair"]

MINIMUM_POINTS = 20
"""The fewest points that a metric of codes and factors accepts."""


def as_array(values: ArrayLike, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Return `values` as a real numpy array; a torch tensor is detached and copied to the CPU.

    Raises:
        UserError: the values are not numbers.
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
    """Return codes (N, Z), or (M, N, Z) where `dimensions` is 3, as float32 or float64.

    Args:
        codes: one value per point and latent; float32 stays float32, anything but float64 becomes float64.
        name: how to call it in messages.
        minimum: fewest points accepted.
        dimensions: number of axes required; the last two are points and latents.

    Raises:
        UserError: wrong number of axes, a value that is not finite, too few points, more latents than points.
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
        bad = int(np.size(array) - np.count_nonzero(np.isfinite(array)))
        raise UserError(f"{name} with {bad} NaN or infinite values", "must be finite", "drop those points or models")
    return array


def as_factors(factors: ArrayLike, name: str = "factors") -> IntArray:
    """Return factors (N, K) as class numbers: column k holds 0 .. (number of its distinct values) - 1.

    Raises:
        UserError: not (N, K), a value that is not finite, a factor with one value only, or one in which every
            value is different although there are more than a few (a continuous factor has to be binned first).
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


def as_pair(
    codes: ArrayLike, factors: ArrayLike, minimum: int = MINIMUM_POINTS, prefix: str = ""
) -> tuple[FloatArray, IntArray]:
    """Return codes (N, Z) and factors (N, K) that belong together; `prefix` names the half in messages (``test_``).

    Raises:
        UserError: as for `as_codes` and `as_factors`, or the numbers of rows differ.
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
