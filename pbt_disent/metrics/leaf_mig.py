"""The two names paper 4 (rPU-VAE, arXiv 2010.13527) gives to MIG: on few labelled points, and on generated labels.

nMIG is MIG on a few labelled points. Leaf-MIG scores a model on the labels that a chain of rounds (a leaf run)
generated: level j holds the images left at that level and one column per latent learned there. Labels are latent
values, so they are cut in 20 equal-width bins just as the codes are; the score is the mean gap over the columns of
all levels, and the fitness of a model the median over the leaf runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._arrays import MINIMUM_POINTS, as_array, as_codes, as_factors, as_pair
from pbt_disent.metrics._registry import METRICS, Inputs, Metric
from pbt_disent.metrics._result import Record, Result
from pbt_disent.metrics.mig import MIG, mig
from pbt_disent.metrics.mutual_information import discretise
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, IntArray

__all__ = ["LeafMIG", "leaf_mig", "leaf_run_mig", "leaf_runs_mig", "nmig"]

Level = tuple[ArrayLike, ArrayLike]


@dataclass(frozen=True, eq=False, kw_only=True)
class LeafMIG(Result):
    """MIG on generated labels.

    Args:
        score: mean gap over all label columns of the run; for several runs the median of their scores.
        per_column: (sum of L_j,) gap of every label column, in the order of the levels (and of the runs).
        latent_of_column: (sum of L_j,) number of the latent that knows most about each column.
        level_of_column: (sum of L_j,) number of the level that each column belongs to.
        run_scores: (number of runs,) score of each leaf run.
    """

    per_column: FloatArray
    latent_of_column: IntArray
    level_of_column: IntArray
    run_scores: FloatArray


def leaf_mig(codes: ArrayLike, labels: ArrayLike, *, bins: int = 20, budget: str = "protocol") -> LeafMIG:
    """Return the leaf-MIG of one level: `leaf_run_mig` of the pair alone.

    Args:
        codes: (N, Z).
        labels: (N, L) generated labels, any real numbers.
        bins: equal-width bins of codes and of labels.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input.
    """
    return leaf_run_mig([(codes, labels)], bins=bins, budget=budget)


def leaf_run_mig(levels: Sequence[Level], *, bins: int = 20, budget: str = "protocol") -> LeafMIG:
    """Return the leaf-MIG of one leaf run.

    Args:
        levels: per level j the codes (N_j, Z) of the images at that level, and their labels (N_j, L_j).
        bins: equal-width bins of codes and of labels.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: no level, or bad input in one of them, which is named.
    """
    if len(levels) == 0:
        raise UserError("a leaf run without levels", "must have at least one", "leave it out")
    parts = [_level(codes, labels, j, bins, budget) for j, (codes, labels) in enumerate(levels)]
    gaps = np.concatenate([part.per_factor for part in parts])
    samples = {f"level{j}": part.record.samples["points"] for j, part in enumerate(parts)}
    return LeafMIG(
        score=float(gaps.mean()),
        record=Record(budget, samples, {"bins": bins}),
        per_column=gaps,
        latent_of_column=np.concatenate([part.latent_of_factor for part in parts]),
        level_of_column=np.repeat(np.arange(len(parts)), [len(part.per_factor) for part in parts]),
        run_scores=np.array([gaps.mean()]),
    )


def leaf_runs_mig(runs: Sequence[Sequence[Level]], *, bins: int = 20, budget: str = "protocol") -> LeafMIG:
    """Return the median of the leaf-MIG of several leaf runs, the fitness of rPU-VAE's final model.

    Raises:
        UserError: no run, or bad input in one of them.
    """
    if len(runs) == 0:
        raise UserError("no leaf run", "at least one is needed", "run the recursion first")
    parts = [leaf_run_mig(levels, bins=bins, budget=budget) for levels in runs]
    scores = np.array([part.score for part in parts])
    samples = {f"run{i}/{name}": count for i, part in enumerate(parts) for name, count in part.record.samples.items()}
    return LeafMIG(
        score=float(np.median(scores)),
        record=Record(budget, samples, {"bins": bins}),
        per_column=np.concatenate([part.per_column for part in parts]),
        latent_of_column=np.concatenate([part.latent_of_column for part in parts]),
        level_of_column=np.concatenate([part.level_of_column for part in parts]),
        run_scores=scores,
    )


def nmig(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    num_train: int = 50_000,
    bins: int = 20,
    seed: int = 0,
    budget: str = "protocol",
) -> MIG:
    """Return MIG on `num_train` labelled points drawn without replacement, on all where there are no more.

    Lowering `num_train` gives paper 4's semi-supervised fitness. Plug-in information is biased upwards on few
    points: independent uniform variables in 20 x 20 bins share about 0.6 of their entropy at 50 points, 0.3 at 200.

    Args:
        codes: (N, Z).
        factors: (N, K) class labels of the labelled points.
        num_train: how many points may be used.
        bins: equal-width bins per latent.
        seed: of the draw; the same seed draws the same points for every model scored.
        budget: recorded; the computation is the same for both.

    Raises:
        UserError: bad input, or fewer points asked for than the minimum.
    """
    if num_train < MINIMUM_POINTS:
        raise UserError(f"num_train={num_train}", f"must be at least {MINIMUM_POINTS}", "label more points")
    checked, classes = as_pair(codes, factors)
    if len(checked) > num_train:
        rows = Streams(seed).generator("metrics", "nmig").choice(len(checked), num_train, replace=False)
        checked, classes = checked[rows], as_factors(classes[rows])
    scored = mig(checked, classes, bins=bins, budget=budget)
    record = Record(budget, scored.record.samples, {**scored.record.parameters, "num_train": num_train}, seed)
    return replace(scored, record=record)


def _level(codes: ArrayLike, labels: ArrayLike, level: int, bins: int, budget: str) -> MIG:
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


def _run_nmig(data: Inputs, budget: str, seed: int) -> MIG:
    return nmig(data.codes, data.labels, seed=seed, budget=budget)


def _run_leaf(data: Inputs, budget: str, seed: int) -> LeafMIG:
    return leaf_mig(data.codes, data.labels, budget=budget)


METRICS.register("nmig")(Metric(MIG, _run_nmig))
METRICS.register("leaf_mig")(Metric(LeafMIG, _run_leaf))
