"""Mutual information in nats, between latents and factors and between the latents themselves.

The published default (disentanglement_lib's `histogram_discretizer`) cuts every latent into 20 equal-width bins. Such
bins are fragile: one outlier stretches them, and a factor of more than 20 levels cannot reach its entropy. Quantile
bins and the k-nearest-neighbour estimator of Ross (2014, doi:10.1371/journal.pone.0087357) are alternatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError, nearest
from pbt_disent.metrics._arrays import as_codes, as_codes_and_factors
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, register_metric
from pbt_disent.types import FloatArray, IntArray

__all__ = [
    "ESTIMATORS",
    "MutualInfoScore",
    "discretise",
    "entropies",
    "mutual_info_score",
    "mutual_information_matrix",
]

ESTIMATORS: tuple[str, ...] = ("equal_width", "quantile", "knn")
ROUNDING = 1e-12
"""Mutual information below this is the rounding error of 0."""


def discretise(
    codes: ArrayLike, bins: int = 20, method: Literal["equal_width", "quantile"] = "equal_width"
) -> IntArray:
    """Cut every column of the codes into bins numbered from 0; a constant column falls into one bin.

    Args:
        codes: The codes, an array of shape (N, Z). Edges are computed in the type of the codes, as numpy's histogram
            does.
        bins: The number of bins per column.
        method: The way to bin: ``equal_width`` from minimum to maximum (published), or ``quantile``, where the bins
            hold equally many points and ties stay together.

    Returns:
        The bin numbers, of shape (N, Z).

    Raises:
        UserError: The codes are bad, there are fewer than two bins, or the method is unknown.

    Example:
        >>> from pbt_disent.metrics import discretise
        >>> discretise([[0.0], [0.4], [0.6], [10.0]], bins=2).ravel().tolist()
        [0, 0, 0, 1]
        >>> discretise([[0.0], [0.4], [0.6], [10.0]], bins=2, method="quantile").ravel().tolist()
        [0, 0, 1, 1]
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
    """Return the plug-in entropy in nats of every factor.

    Args:
        classes: The class numbers, counted from 0, an array of shape (N, K).

    Returns:
        The entropies, of shape (K,).

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import entropies
        >>> entropies(np.array([[0, 0], [1, 0], [0, 1], [1, 0]])).round(3).tolist()
        [0.693, 0.562]
    """
    return np.array([_row_entropies(np.bincount(column)[None], len(classes))[0] for column in classes.T])


def mutual_information_matrix(
    codes: ArrayLike, factors: ArrayLike, bins: int = 20, estimator: str = "equal_width", *, neighbours: int = 3
) -> FloatArray:
    """Return the mutual information in nats of every latent with every factor.

    Args:
        codes: The codes, an array of shape (N, Z).
        factors: The class labels of the factors, numbers of any kind, an array of shape (N, K).
        bins: The number of bins per latent, for the two histogram estimators.
        estimator: The estimator: ``equal_width`` (published), ``quantile`` or ``knn`` (nearest neighbours, no bins).
        neighbours: The number of nearest neighbours, for ``knn``.

    Returns:
        The mutual information, of shape (Z, K).

    Raises:
        UserError: The input is bad or the estimator is unknown.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import mutual_information_matrix
        >>> factors = np.random.default_rng(0).integers([3, 4], size=(600, 2))
        >>> codes = factors[:, ::-1] * 1.0
        >>> mutual_information_matrix(codes, factors).round(2).tolist()
        [[0.0, 1.38], [1.1, 0.0]]
    """
    checked, classes = as_codes_and_factors(codes, factors)
    if estimator == "knn":
        return _nearest_neighbour_information(checked, classes, neighbours)
    if estimator not in ESTIMATORS:
        raise UserError(f"estimator {estimator!r}", "is no known estimator", nearest(estimator, ESTIMATORS))
    method: Literal["equal_width", "quantile"] = "quantile" if estimator == "quantile" else "equal_width"
    return binned_information(discretise(checked, bins, method), classes)


def binned_information(binned: IntArray, classes: IntArray) -> FloatArray:
    """Return the plug-in mutual information (Z, K) of binned codes (N, Z) and classes (N, K), both numbered from 0.

    One joint histogram of all latents per factor gives I(z; v) = H(z) + H(v) - H(z, v).
    """
    points, latents = binned.shape
    bins = int(binned.max()) + 1
    latent_entropies = entropies(binned)
    cells = binned + np.arange(latents) * bins
    information = np.empty((latents, classes.shape[1]))
    for k, (labels, factor_entropy) in enumerate(zip(classes.T, entropies(classes), strict=True)):
        levels = int(labels.max()) + 1
        counts = np.bincount((cells * levels + labels[:, None]).ravel(), minlength=latents * bins * levels)
        joint_entropies = _row_entropies(counts.reshape(latents, -1), points)
        information[:, k] = latent_entropies + factor_entropy - joint_entropies
    return np.where(information > ROUNDING, information, 0.0)


def _row_entropies(counts: IntArray, total: int) -> FloatArray:
    share = counts / total
    return np.asarray(-(share * np.log(np.where(counts > 0, share, 1.0))).sum(axis=1))


def _nearest_neighbour_information(codes: FloatArray, classes: IntArray, neighbours: int) -> FloatArray:
    from sklearn.feature_selection import mutual_info_classif

    columns = [mutual_info_classif(codes, labels, n_neighbors=neighbours, random_state=0) for labels in classes.T]
    return np.stack(columns, axis=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class MutualInfoScore(MetricResult):
    """The mean mutual information between latents.

    Args:
        score: The mean over the pairs in nats, 0 for a single latent.
        mutual_information: The mutual information of each pair in nats, of shape (Z, Z), 0 on the diagonal.
    """

    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    mutual_information: FloatArray


def mutual_info_score(codes: ArrayLike, *, bins: int = 20, budget: str = "protocol") -> MutualInfoScore:
    """Return the mean mutual information between different latents, in nats: 0 if they are pairwise independent.

    This is disentanglement_lib's `mutual_info_score` (arXiv 1811.12359): both latents in 20 equal-width bins, and the
    mean over all ordered pairs.

    Args:
        codes: The codes, an array of shape (N, Z).
        bins: The number of equal-width bins per latent.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The codes are bad.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import mutual_info_score
        >>> codes = np.random.default_rng(0).normal(size=(5000, 3))
        >>> round(mutual_info_score(codes).score, 2)
        0.03
        >>> round(mutual_info_score(codes[:, [0, 0, 1]]).score, 2)
        0.84
    """
    checked = as_codes(codes)
    binned = discretise(checked, bins)
    information = binned_information(binned, binned)
    np.fill_diagonal(information, 0.0)
    pairs = max(len(information) * (len(information) - 1), 1)
    return MutualInfoScore(
        score=float(information.sum() / pairs),
        provenance=Provenance(budget, {"points": len(checked)}, {"bins": bins}),
        mutual_information=information,
    )


@register_metric("mutual_info_score", MutualInfoScore, "unlabelled")
def _run_mutual_info_score(inputs: MetricInputs, budget: str, seed: int) -> MutualInfoScore:
    return mutual_info_score(inputs.codes, budget=budget)
