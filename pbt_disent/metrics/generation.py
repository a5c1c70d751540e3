"""The quality of what a decoder makes: reconstruction error, sliced Wasserstein distance, Fréchet distance.

All take images, or any features of them, which are flattened to one row each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import as_array
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, check_metric_budget, register_metric
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
class Distance(MetricResult):
    """The distance between two sets of images or features, 0 if they are distributed alike."""

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))


@dataclass(frozen=True, eq=False, kw_only=True)
class ReconstructionError(Distance):
    """The reconstruction error.

    Args:
        score: The mean squared error per value.
        per_image: The mean squared error of each image, of shape (N,).
    """

    per_image: FloatArray


def reconstruction_error(
    images: ArrayLike, reconstructions: ArrayLike, *, budget: str = "protocol"
) -> ReconstructionError:
    """Return the mean squared error of reconstructions, per value.

    Args:
        images: The images, an array of shape (N, ...).
        reconstructions: The reconstructions of the same images, of the same shape and on the same scale.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The shapes differ, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import reconstruction_error
        >>> images = np.ones((2, 1, 8, 8))
        >>> reconstruction_error(images, [[[[0.5]]], [[[1.0]]]] * images).per_image.tolist()
        [0.25, 0.0]
    """
    targets, outputs = _as_rows(images, "images", 1), _as_rows(reconstructions, "reconstructions", 1)
    if np.shape(images) != np.shape(reconstructions):
        raise UserError(
            f"images of shape {np.shape(images)} and reconstructions of shape {np.shape(reconstructions)}",
            "must have the same shape",
            "decode the codes of the same images",
        )
    errors = ((targets - outputs) ** 2).mean(axis=1)
    return ReconstructionError(
        score=float(errors.mean()), provenance=Provenance(budget, {"images": len(targets)}), per_image=errors
    )


def sliced_wasserstein(
    first: ArrayLike, second: ArrayLike, *, directions: int | None = None, seed: int = 0, budget: str = "protocol"
) -> Distance:
    """Return the sliced 2-Wasserstein distance of two sets of images (Bonneel et al. 2015).

    This is the mean over random directions of the 2-Wasserstein distance of the projections, which is the root of the
    mean squared difference of their quantiles.

    Args:
        first: The first set, an array of shape (N, ...).
        second: The second set, an array of shape (N', ...) with rows of the same size. The quantiles of the smaller
            set are interpolated.
        directions: The number of random directions; by default 256, or 64 for ``fast``.
        seed: The seed of the directions.
        budget: The budget, ``protocol`` or ``fast``.

    Raises:
        UserError: Rows differ in size, there are fewer than two rows, a value is not finite, or there is no direction.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import sliced_wasserstein
        >>> first = np.random.default_rng(0).normal(size=(500, 2))
        >>> round(sliced_wasserstein(first, first + [3.0, 0.0]).score, 1)
        1.8
    """
    check_metric_budget(budget)
    directions = DIRECTIONS[budget] if directions is None else directions
    a, b = _as_two_sets(first, second)
    if directions < 1:
        raise UserError(f"directions={directions}", "must be positive", "use 256")
    axes = Streams(seed).generator("metrics", "sliced_wasserstein").normal(size=(a.shape[1], directions))
    axes /= np.linalg.norm(axes, axis=0)
    grid = (np.arange(max(len(a), len(b))) + 0.5) / max(len(a), len(b))
    differences = _quantiles(a @ axes, grid) - _quantiles(b @ axes, grid)
    return Distance(
        score=float(np.sqrt((differences**2).mean(axis=0)).mean()),
        provenance=Provenance(budget, {"first": len(a), "second": len(b)}, {"directions": directions}, seed),
    )


def frechet_distance(first: ArrayLike, second: ArrayLike, *, budget: str = "protocol") -> Distance:
    """Return the squared Fréchet distance of two sets of features that are modelled as Gaussian.

    With means m, m' and covariances C, C' (Heusel et al. 2017, arXiv 1706.08500, eq. 6),

        d^2 = |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)).

    The features are of the user's choice; no network is shipped or fetched.

    Args:
        first: The features of the first set, an array of shape (N, F).
        second: The features of the second set, an array of shape (N', F).
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: Rows differ in size, there are fewer than two rows, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import frechet_distance
        >>> features = np.random.default_rng(0).normal(size=(500, 2))
        >>> round(frechet_distance(features, features + [3.0, 0.0]).score, 2)
        9.0
    """
    a, b = _as_two_sets(first, second)
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b)]
    root = _square_root(covariances[0])
    crossed = np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0.0)
    shift = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    distance = shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2.0 * np.sqrt(crossed).sum()
    return Distance(score=float(max(distance, 0.0)), provenance=Provenance(budget, {"first": len(a), "second": len(b)}))


def _as_rows(values: ArrayLike, name: str, minimum: int) -> FloatArray:
    array = as_array(values, name)
    if array.ndim < 2 or len(array) < minimum or array[0].size == 0:
        raise UserError(f"{name} of shape {array.shape}", f"must hold at least {minimum} rows", "give (N, ...) values")
    flat = array.reshape(len(array), -1).astype(np.float64)
    if not np.isfinite(flat).all():
        raise UserError(f"{name} with NaN or infinite values", "must be finite", "leave those rows out")
    return flat


def _as_two_sets(first: ArrayLike, second: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = _as_rows(first, "first set", MINIMUM_ROWS), _as_rows(second, "second set", MINIMUM_ROWS)
    if a.shape[1] != b.shape[1]:
        raise UserError(
            f"rows of {a.shape[1]} and of {b.shape[1]} values", "must be of the same size", "use the same features"
        )
    return a, b


def _quantiles(values: FloatArray, grid: FloatArray) -> FloatArray:
    """Return the quantiles of every column at `grid`, interpolated between its sorted values."""
    ordered = np.sort(values, axis=0)
    positions = (np.arange(len(values)) + 0.5) / len(values)
    if len(positions) == len(grid):
        return np.asarray(ordered)
    return np.stack([np.interp(grid, positions, column) for column in ordered.T], axis=1)


def _square_root(matrix: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


@register_metric("reconstruction_error", ReconstructionError, "decoded", row_groups=(("images", "reconstructions"),))
def _run_reconstruction_error(inputs: MetricInputs, budget: str, seed: int) -> ReconstructionError:
    return reconstruction_error(inputs.require("images"), inputs.require("reconstructions"), budget=budget)


@register_metric("sliced_wasserstein", Distance, "decoded", costly=True, row_groups=(("images",), ("generated",)))
def _run_sliced_wasserstein(inputs: MetricInputs, budget: str, seed: int) -> Distance:
    return sliced_wasserstein(inputs.require("images"), inputs.require("generated"), seed=seed, budget=budget)


@register_metric(
    "frechet_distance", Distance, "decoded", costly=True, row_groups=(("features",), ("generated_features",))
)
def _run_frechet_distance(inputs: MetricInputs, budget: str, seed: int) -> Distance:
    return frechet_distance(inputs.require("features"), inputs.require("generated_features"), budget=budget)
