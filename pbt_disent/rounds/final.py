"""The final population: one model per member on all images, ranked by the labels that the leaf runs found.

As published, the labels never enter a loss: they act by selection alone (Estermann et al. 2020; papers.md 4.1 and 4.6).
With `final.objective` they are learned from as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pbt_disent.metrics import MINIMUM_POINTS
from pbt_disent.population.engine import PopulationResult
from pbt_disent.rounds.populations import final_population
from pbt_disent.rounds.recursion import Leaf
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.rounds.teaching import teach
from pbt_disent.types import Json

__all__ = ["final_round"]


def final_round(setup: RunSetup, leaves: Sequence[Leaf], allowance: int | None = None) -> PopulationResult:
    """Run the final population. Levels too small to be scored (fewer than 20 images, or latents) take no part.

    Args:
        setup: the run.
        leaves: leaf runs with at least one level each.
        allowance: image passes that it may pay, at least the cost of the configured generations; none for no limit.
    """
    final = setup.config.final
    taught = teach(setup, leaves)
    least = max(MINIMUM_POINTS, setup.latents if taught is None else int(taught[1].settings["latents"]))
    chosen = [
        [
            (level, setup.sample(np.arange(len(level.images)), final.points, "final", leaf.number, level.path))
            for level in leaf.levels
            if len(level.images) >= least
        ]
        for leaf in leaves
    ]
    probe = np.unique(np.concatenate([level.images[rows] for leaf in chosen for level, rows in leaf]))
    options: list[list[Json]] = [
        [
            {
                "rows": setup.blobs.put_array(np.searchsorted(probe, level.images[rows])),
                "labels": setup.blobs.put_array(level.values[rows]),
            }
            for level, rows in leaf
        ]
        for leaf in chosen
    ]
    population = setup.afford(final_population(setup.config), allowance, setup.size, last=True, taught=taught)
    if population is None:
        raise AssertionError("what the final round costs was kept for it")
    return setup.run(
        "final",
        population,
        subset=setup.images,
        probe=probe,
        fitness="leaf_mig",
        options={"leaves": options, "bins": final.bins},
        taught=taught,
    )
