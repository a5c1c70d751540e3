"""Leaf-MIG: the mutual information gap on generated labels (rPU-VAE, arXiv 2010.13527).

A leaf run is a chain of rounds that generates labels. Level j holds the images that are left there, and one column of
labels for every latent learned there. Labels are latent values, so they are cut into 20 equal-width bins just as the
codes are. The score of a leaf run is the mean gap over the columns of all levels; the fitness of a model is the median
over the leaf runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import as_array, as_codes, as_factors
from pbt_disent.metrics.base import MetricInputs, MetricResult, Provenance, register_metric
from pbt_disent.metrics.mig import MIG, mig
from pbt_disent.metrics.mutual_information import discretise
from pbt_disent.types import FloatArray, IntArray

__all__ = ["LeafMIG", "leaf_mig", "leaf_run_mig", "leaf_runs_mig"]

CodesAndLabels = tuple[ArrayLike, ArrayLike]


@dataclass(frozen=True, eq=False, kw_only=True)
class LeafMIG(MetricResult):
    """The mutual information gap on generated labels, where level j has L_j label columns.

    Args:
        score: The mean gap over all label columns of the run, or the median of the runs' scores.
        per_column: The gap of every label column, in the order of the levels and runs, of shape (sum of L_j,).
        latent_of_column: The number of the latent that knows most about each column, of shape (sum of L_j,).
        level_of_column: The number of the level that each column belongs to, of shape (sum of L_j,).
        run_scores: The score of each leaf run.
    """

    per_column: FloatArray
    latent_of_column: IntArray
    level_of_column: IntArray
    run_scores: FloatArray


def leaf_mig(codes: ArrayLike, labels: ArrayLike, *, bins: int = 20, budget: str = "protocol") -> LeafMIG:
    """Return the leaf-MIG of one level alone.

    Args:
        codes: The codes, an array of shape (N, Z).
        labels: The generated labels, any real numbers, an array of shape (N, L).
        bins: The number of equal-width bins of codes and of labels.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: The input is bad.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import leaf_mig
        >>> labels = np.random.default_rng(0).normal(size=(5000, 2))
        >>> round(leaf_mig(labels, labels).score, 2)
        0.99
    """
    return leaf_run_mig([(codes, labels)], bins=bins, budget=budget)


def leaf_run_mig(levels: Sequence[CodesAndLabels], *, bins: int = 20, budget: str = "protocol") -> LeafMIG:
    """Return the leaf-MIG of one leaf run.

    Args:
        levels: The levels, each a pair of codes of shape (N_j, Z) and generated labels of shape (N_j, L_j) of the same
            images.
        bins: The number of equal-width bins of codes and of labels.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: There is no level, or the input of one of them is bad, which is named.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import leaf_run_mig
        >>> labels = np.random.default_rng(0).normal(size=(5000, 2))
        >>> levels = [(labels, labels), (labels[:2000], labels[:2000, :1])]
        >>> leaf_run_mig(levels).per_column.round(2).tolist()
        [0.99, 0.99, 0.97]
    """
    if len(levels) == 0:
        raise UserError("a leaf run without levels", "must have at least one", "leave it out")
    results = [_level_mig(codes, labels, level, bins, budget) for level, (codes, labels) in enumerate(levels)]
    gaps = np.concatenate([result.per_factor for result in results])
    samples = {f"level{level}": result.provenance.samples["points"] for level, result in enumerate(results)}
    return LeafMIG(
        score=float(gaps.mean()),
        provenance=Provenance(budget, samples, {"bins": bins}),
        per_column=gaps,
        latent_of_column=np.concatenate([result.latent_of_factor for result in results]),
        level_of_column=np.repeat(np.arange(len(results)), [len(result.per_factor) for result in results]),
        run_scores=np.array([gaps.mean()]),
    )


def leaf_runs_mig(runs: Sequence[Sequence[CodesAndLabels]], *, bins: int = 20, budget: str = "protocol") -> LeafMIG:
    """Return the median of the leaf-MIG of several leaf runs, the fitness of rPU-VAE's final model.

    Args:
        runs: The leaf runs, each a sequence of levels as `leaf_run_mig` takes it.
        bins: The number of equal-width bins of codes and of labels.
        budget: The budget, recorded with the result; the computation is the same for both.

    Raises:
        UserError: There is no run, or the input of one of them is bad.

    Example:
        >>> import numpy as np
        >>> from pbt_disent.metrics import leaf_runs_mig
        >>> labels = np.random.default_rng(0).normal(size=(5000, 2))
        >>> runs = [[(labels, labels)], [(labels[:2000], labels[:2000])], [(labels[::-1], labels)]]
        >>> leaf_runs_mig(runs).run_scores.round(2).tolist()
        [0.99, 0.97, 0.0]
    """
    if len(runs) == 0:
        raise UserError("no leaf run", "at least one is needed", "run the recursion first")
    results = [leaf_run_mig(levels, bins=bins, budget=budget) for levels in runs]
    scores = np.array([result.score for result in results])
    samples = {
        f"run{run}/{level}": points
        for run, result in enumerate(results)
        for level, points in result.provenance.samples.items()
    }
    return LeafMIG(
        score=float(np.median(scores)),
        provenance=Provenance(budget, samples, {"bins": bins}),
        per_column=np.concatenate([result.per_column for result in results]),
        latent_of_column=np.concatenate([result.latent_of_column for result in results]),
        level_of_column=np.concatenate([result.level_of_column for result in results]),
        run_scores=scores,
    )


def _level_mig(codes: ArrayLike, labels: ArrayLike, level: int, bins: int, budget: str) -> MIG:
    values = as_array(labels, f"labels of level {level}")
    if values.ndim != 2 or values.shape[1] == 0:
        raise UserError(f"labels of level {level}, shape {values.shape}", "must have shape (N, L)", "reshape them")
    checked = as_codes(codes, f"codes of level {level}")
    if len(values) != len(checked):
        raise UserError(
            f"level {level} with {len(checked)} codes and {len(values)} labels",
            "must have as many of one as of the other",
            "take both from the same images",
        )
    return mig(checked, as_factors(discretise(values, bins), f"labels of level {level}"), bins=bins, budget=budget)


@register_metric("leaf_mig", LeafMIG)
def _run_leaf_mig(inputs: MetricInputs, budget: str, seed: int) -> LeafMIG:
    return leaf_mig(inputs.codes, inputs.require("factors"), budget=budget)
