"""Mutual information between latents and factors, in nats, from joint histograms or nearest neighbours.

The published default (disentanglement_lib's `histogram_discretizer`) cuts every latent in 20 equal-width bins.
Such bins are fragile: one outlier stretches them, and a factor of more than 20 levels cannot reach its entropy.
Quantile bins and the k-nearest-neighbour estimator of Ross (2014, doi:10.1371/journal.pone.0087357) stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError, nearest
from pbt_disent.metrics._arrays import as_codes, as_pair
from pbt_disent.types import FloatArray, IntArray

__all__ = ["ESTIMATORS", "Estimator", "discretise", "entropies", "mutual_information_matrix"]

Estimator = Literal["equal_width", "quantile", "knn"]
ROUNDING = 1e-12
ESTIMATORS: tuple[str, ...] = ("equal_width", "quantile", "knn")


def discretise(
    codes: ArrayLike, bins: int = 20, method: Literal["equal_width", "quantile"] = "equal_width"
) -> IntArray:
    """Cut every column of codes (N, Z) into bins numbered from 0; a constant column falls into one bin.

    Args:
        codes: (N, Z); edges are computed in the type of the codes, as numpy's histogram does.
        bins: number of bins per column.
        method: ``equal_width`` from minimum to maximum (published), or ``quantile`` (equally filled, ties together).

    Raises:
        UserError: bad codes, fewer than two bins, or an unknown method.
    """
    if bins < 2:
        raise UserError(f"bins={bins}", "must be at least 2", "use 20, the published number")
    values = as_codes(codes, minimum=2)
    binned = np.empty(values.shape, dtype=np.int64)
    for j, column in enumerate(values.T):
        if method == "equal_width":
            edges = np.histogram_bin_edges(column, bins)[:-1]
        elif method == "quantile":
            edges = np.unique(np.quantile(column, np.arange(bins) / bins))
        else:
            raise UserError(f"method {method!r}", "is no way to bin", nearest(method, ESTIMATORS[:2]))
        binned[:, j] = np.maximum(np.digitize(column, edges) - 1, 0)
    return binned


def entropies(classes: IntArray) -> FloatArray:
    """Return the plug-in entropy in nats of every column of classes (N, K), which are numbered from 0."""
    return np.array([_entropy(np.bincount(column), len(classes)) for column in classes.T])


def mutual_information_matrix(
    codes: ArrayLike, factors: ArrayLike, bins: int = 20, estimator: str = "equal_width", *, neighbours: int = 3
) -> FloatArray:
    """Return the mutual information (Z, K) in nats of every latent with every factor.

    Args:
        codes: (N, Z).
        factors: (N, K) class labels of any kind of number.
        bins: per latent, for the two histogram estimators.
        estimator: ``equal_width`` (published), ``quantile`` or ``knn`` (no bins).
        neighbours: for ``knn``.

    Raises:
        UserError: bad input or an unknown estimator.
    """
    checked, classes = as_pair(codes, factors)
    if estimator == "knn":
        return _nearest_neighbours(checked, classes, neighbours)
    if estimator not in ESTIMATORS:
        raise UserError(f"estimator {estimator!r}", "is no known estimator", nearest(estimator, ESTIMATORS))
    method: Literal["equal_width", "quantile"] = "quantile" if estimator == "quantile" else "equal_width"
    return binned_information(discretise(checked, bins, method), classes)


def binned_information(binned: IntArray, classes: IntArray) -> FloatArray:
    """Return the plug-in mutual information (Z, K) of binned (N, Z) and classes (N, K), both numbered from 0.

    One joint histogram of all latents per factor: I = H(z) + H(v) - H(z, v), and exactly 0 where that is rounding.
    """
    points, latents = binned.shape
    width = int(binned.max()) + 1
    marginal = entropies(binned)
    cells = binned + np.arange(latents) * width
    information = np.empty((latents, classes.shape[1]))
    for k, (labels, entropy) in enumerate(zip(classes.T, entropies(classes), strict=True)):
        size = int(labels.max()) + 1
        joint = np.bincount((cells * size + labels[:, None]).ravel(), minlength=latents * width * size)
        together = _entropy_rows(joint.reshape(latents, -1), points)
        information[:, k] = marginal + entropy - together
    return np.where(information > ROUNDING, information, 0.0)


def _entropy(counts: IntArray, total: int) -> float:
    return float(_entropy_rows(counts[None], total)[0])


def _entropy_rows(counts: IntArray, total: int) -> FloatArray:
    share = counts / total
    return np.asarray(-(share * np.log(np.where(counts > 0, share, 1.0))).sum(axis=1))


def _nearest_neighbours(codes: FloatArray, classes: IntArray, neighbours: int) -> FloatArray:
    from sklearn.feature_selection import mutual_info_classif

    columns: Iterable[IntArray] = classes.T
    found = [mutual_info_classif(codes, column, n_neighbors=neighbours, random_state=0) for column in columns]
    return np.stack(found, axis=1)
