"""Quality of what a decoder makes: reconstruction error, sliced Wasserstein distance, Fréchet distance.

They take images, or any features of them, flattened to one row each. The Fréchet distance is the one of Heusel et al.
(2017, arXiv 1706.08500, eq. 6) on features of the user's choice; no network is shipped or fetched. The sliced
Wasserstein distance is the mean over random directions of the 2-Wasserstein distance of the projections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import as_array
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result, check_budget
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray

__all__ = [
    "Distance",
    "ReconstructionError",
    "frechet_distance",
    "reconstruction_error",
    "sliced_wasserstein",
]

MINIMUM_ROWS = 2
DIRECTIONS = {"protocol": 256, "fast": 64}


@dataclass(frozen=True, eq=False, kw_only=True)
class Distance(Result):
    """Distance between two sets of images or features, 0 if they are distributed alike."""

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))


@dataclass(frozen=True, eq=False, kw_only=True)
class ReconstructionError(Distance):
    """Reconstruction error.

    Args:
        score: mean squared error per value.
        per_image: (N,) mean squared error of each image.
    """

    per_image: FloatArray


def reconstruction_error(
    images: ArrayLike, reconstructions: ArrayLike, *, budget: str = "protocol"
) -> ReconstructionError:
    """Return the squared error of reconstructions (N, ...) of images (N, ...), per value.

    Args:
        images: (N, ...).
        reconstructions: (N, ...), on the same scale.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: shapes that differ, or values that are not finite.
    """
    truth, made = _rows(images, "images", 1), _rows(reconstructions, "reconstructions", 1)
    if np.shape(images) != np.shape(reconstructions):
        raise UserError(
            f"images of shape {np.shape(images)} and reconstructions of shape {np.shape(reconstructions)}",
            "must have the same shape",
            "decode the codes of the same images",
        )
    errors = ((truth - made) ** 2).mean(axis=1)
    return ReconstructionError(
        score=float(errors.mean()), record=Record(budget, {"images": len(truth)}), per_image=errors
    )


def sliced_wasserstein(
    first: ArrayLike, second: ArrayLike, *, directions: int | None = None, seed: int = 0, budget: str = "protocol"
) -> Distance:
    """Return the sliced 2-Wasserstein distance of two sets (N, ...) and (N', ...) with rows of the same size.

    Args:
        first: (N, ...).
        second: (N', ...); the smaller set's quantiles are interpolated.
        directions: number of random directions; by budget 256 or, for ``fast``, 64.
        seed: of the directions.
        budget: ``protocol`` or ``fast``.

    Raises:
        UserError: rows of different size, fewer than two rows, values that are not finite, or no direction.
    """
    check_budget(budget)
    directions = DIRECTIONS[budget] if directions is None else directions
    a, b = _two(first, second)
    if directions < 1:
        raise UserError(f"directions={directions}", "must be positive", "use 256")
    axes = Streams(seed).generator("metrics", "sliced_wasserstein").normal(size=(a.shape[1], directions))
    axes /= np.linalg.norm(axes, axis=0)
    grid = (np.arange(max(len(a), len(b))) + 0.5) / max(len(a), len(b))
    gaps = _quantiles(a @ axes, grid) - _quantiles(b @ axes, grid)
    return Distance(
        score=float(np.sqrt((gaps**2).mean(axis=0)).mean()),
        record=Record(budget, {"first": len(a), "second": len(b)}, {"directions": directions}, seed),
    )


def frechet_distance(first: ArrayLike, second: ArrayLike, *, budget: str = "protocol") -> Distance:
    """Return the squared Fréchet distance of two sets of features (N, F) and (N', F), taken for Gaussian.

    Args:
        first: (N, F).
        second: (N', F).
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: rows of different size, fewer than two rows, or values that are not finite.
    """
    a, b = _two(first, second)
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b)]
    root = _square_root(covariances[0])
    crossed = np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0.0)
    shift = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    distance = shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2.0 * np.sqrt(crossed).sum()
    return Distance(score=float(max(distance, 0.0)), record=Record(budget, {"first": len(a), "second": len(b)}))


def _rows(values: ArrayLike, name: str, minimum: int) -> FloatArray:
    array = as_array(values, name)
    if array.ndim < 2 or len(array) < minimum or array[0].size == 0:
        raise UserError(f"{name} of shape {array.shape}", f"must hold at least {minimum} rows", "give (N, ...) values")
    flat = array.reshape(len(array), -1).astype(np.float64)
    if not np.isfinite(flat).all():
        raise UserError(f"{name} with NaN or infinite values", "must be finite", "leave those rows out")
    return flat


def _two(first: ArrayLike, second: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = _rows(first, "first set", MINIMUM_ROWS), _rows(second, "second set", MINIMUM_ROWS)
    if a.shape[1] != b.shape[1]:
        raise UserError(
            f"rows of {a.shape[1]} and of {b.shape[1]} values", "must be of the same size", "use the same features"
        )
    return a, b


def _quantiles(values: FloatArray, grid: FloatArray) -> FloatArray:
    """Return each column's quantiles at `grid`, from a step-free inverse of its sorted values."""
    ordered = np.sort(values, axis=0)
    own = (np.arange(len(values)) + 0.5) / len(values)
    if len(own) == len(grid):
        return np.asarray(ordered)
    return np.stack([np.interp(grid, own, column) for column in ordered.T], axis=1)


def _square_root(matrix: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def _run_error(data: Inputs, budget: str, seed: int) -> ReconstructionError:
    return reconstruction_error(data.given("images"), data.given("reconstructions"), budget=budget)


def _run_sliced(data: Inputs, budget: str, seed: int) -> Distance:
    return sliced_wasserstein(data.given("images"), data.given("generated"), seed=seed, budget=budget)


def _run_frechet(data: Inputs, budget: str, seed: int) -> Distance:
    return frechet_distance(data.given("features"), data.given("generated_features"), budget=budget)


METRICS.register("reconstruction_error")(
    Metric(ReconstructionError, _run_error, "decoded", sets=(("images", "reconstructions"),))
)
METRICS.register("sliced_wasserstein")(
    Metric(Distance, _run_sliced, "decoded", costly=True, sets=(("images",), ("generated",)))
)
METRICS.register("frechet_distance")(
    Metric(Distance, _run_frechet, "decoded", costly=True, sets=(("features",), ("generated_features",)))
)
