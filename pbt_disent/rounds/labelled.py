"""PBT-VAE: one population of single models, ranked by a metric on labels (Estermann et al. 2020; papers.md 4.1)."""

from __future__ import annotations

import numpy as np

from pbt_disent.config import PopulationConfig
from pbt_disent.errors import UserError
from pbt_disent.metrics import MINIMUM_POINTS
from pbt_disent.population.engine import PopulationResult
from pbt_disent.rounds.setup import RunSetup

__all__ = ["labelled_round"]


def labelled_round(setup: RunSetup, population: PopulationConfig) -> PopulationResult:
    """Run the population. The labels act by selection alone: they never enter a loss.

    Raises:
        UserError: the run has too few labelled images to rank by.
    """
    supervision = setup.config.supervision
    if setup.ranking is None:
        raise UserError("method pbt-vae", "needs labels to rank by", "name a table with --set data.options.labels=FILE")
    labels = np.asarray(setup.blobs.get_array(setup.ranking), dtype=np.int64)
    known = np.flatnonzero((labels >= 0).all(axis=1))
    probe = setup.sample(known, supervision.points, "0", "probe")
    if len(probe) < MINIMUM_POINTS:
        raise UserError(
            f"{len(probe)} labelled images", f"must be at least {MINIMUM_POINTS} to rank by", "raise supervision.share"
        )
    options = {"labels": setup.blobs.put_array(labels[probe]), "bins": supervision.bins}
    return setup.run("0", population, subset=setup.images, probe=probe, fitness=supervision.metric, options=options)
