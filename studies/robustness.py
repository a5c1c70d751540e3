"""How robust each method is at equal cost, seed by seed, on worlds with known factors: `python -m studies robustness`.

A cell is a whole run of one arm on one world: the same code as `pbt-disent run`, in one process, until its budget of
image passes is spent. The training loop counts the passes of all arms alike. True factors are read after the run,
except by the arm that is given them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from pbt_disent import api
from pbt_disent.config import Config, validate
from pbt_disent.data.base import ImageData
from pbt_disent.metrics import MetricInputs, score
from pbt_disent.models import LatentModel
from pbt_disent.population.events import Observers
from pbt_disent.rounds.method import Result
from pbt_disent.store.runs import create_run
from pbt_disent.types import Json
from studies.cells import Cell
from studies.contract import STUDIES, Study
from studies.spread import Goal, draw_boxes, tabulate

__all__ = ["LEARNED", "Description", "run_cell", "study"]

LEARNED = 0.4
"""MIG of its own from which a factor counts as learned."""


class Description(BaseModel):
    """The study as it is described in robustness.yaml.

    Args:
        revision: counts changes of the code that make earlier results void.
        seeds: of every arm and world.
        budget: image passes of every cell.
        worlds: by name, a `data` section of a config.
        shared: parts of a config that all arms have.
        arms: by name, parts of a config that take the place of the shared ones, section by section, and `share`, the
            share of the budget that the arm may spend (1 by default).
        goals: what the arms are compared on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int
    seeds: tuple[int, ...]
    budget: int
    worlds: dict[str, Json]
    shared: Json
    arms: dict[str, Json]
    goals: tuple[Goal, ...] = ()

    def cells(self, arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
        """Return the cells seed by seed and world by world, so that a part of the study compares all arms already."""
        return [
            Cell(f"{world}/{arm}", seed, {"revision": self.revision, "config": self._config(world, arm)})
            for seed in seeds
            for world in self.worlds
            for arm in arms
        ]

    def _config(self, world: str, arm: str) -> Json:
        own = dict(self.arms[arm])
        budget = round(own.pop("share", 1) * self.budget)
        return {**self.shared, **own, "data": self.worlds[world], "budget": budget}


@STUDIES.register("robustness")
def study() -> Study:
    """Return the study that ships with the package."""
    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    described = Description.model_validate(yaml.safe_load(text))
    return Study(
        tuple(described.arms),
        described.seeds,
        described.cells,
        run_cell,
        lambda results: tabulate(described.worlds, described.arms, results, described.goals),
        lambda results: draw_boxes(described.worlds, described.arms, results),
    )


def configured(cell: Cell) -> Config:
    """Return the config of a cell's run."""
    return validate({**cell.description["config"], "seed": cell.seed, "tracking": {"enabled": False}})


def run_cell(cell: Cell) -> Json:
    """Run an arm on a world and return its figures.

    Returns:
        `mig` and `dci` (disentanglement) of the final model on all images, `gaps` (the MIG of each factor that varies,
        by name), `learned` (how many of these are at least 0.4), `passes` (image passes paid), `ends` (why each
        leaf run ended) and `device` (cpu or cuda).
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as temporary:
        folder = create_run(configured(cell), "cell", Path(temporary), None)
        prepared = api.prepare(folder, device=device)
        outcome = api.execute(prepared, api.in_process, Observers([]))
        if outcome.model is None:
            raise RuntimeError(f"{cell.arm}, seed {cell.seed}: no member ever had a score")
        return {**_figures(outcome.model, prepared.data), **_account(outcome.result), "device": device}


def _figures(model: LatentModel, world: ImageData) -> Json:
    every = np.arange(len(world))
    factors = world.factors(every)
    assert factors is not None
    varying = np.flatnonzero(np.ptp(factors, axis=0) > 0)
    codes = model.encode(world.images(every))
    found = score(MetricInputs(codes, factors[:, varying]), ["mig", "dci"], intervals=False)
    gaps = found["mig"].result.per_factor  # type: ignore[attr-defined]
    return {
        "mig": found["mig"].values["score"],
        "dci": found["dci"].values["disentanglement"],
        "gaps": {world.factor_names[column]: float(gap) for column, gap in zip(varying, gaps, strict=True)},
        "learned": int((gaps >= LEARNED).sum()),
    }


def _account(result: Result) -> Json:
    return {"passes": result.images, "ends": [leaf.reason for leaf in result.leaves]}
