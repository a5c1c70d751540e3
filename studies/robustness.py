"""How robust each method is at equal cost, seed by seed, on worlds with known factors: `python -m studies robustness`.

A cell is a whole run of one arm on one world: the same code as `pbt-disent run`, in one process, until its budget of
image passes is spent. The training loop counts the passes of all arms alike. True factors are read after the run,
except by the arm that has labels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from pbt_disent import api
from pbt_disent.config import Config, validate
from pbt_disent.data.base import ImageData
from pbt_disent.metrics import MetricInputs, score
from pbt_disent.models import LatentModel
from pbt_disent.population.events import Observers
from pbt_disent.rounds.method import RunResult
from pbt_disent.store.runs import create_run
from pbt_disent.types import Json
from studies.study import STUDIES, Cell, Results, Study

__all__ = ["LEARNED", "Hypothesis", "RobustnessDesign", "draw_figure", "format_table", "run_cell", "study"]

LEARNED = 0.4
"""The MIG of its own from which a factor counts as learned."""
INK, LINE, ACCENT = "#1c2128", "#8593a3", "#b3410e"

Statistic = Literal["median", "worst"]


class Hypothesis(BaseModel):
    """The hypothesis that one arm has at least as much of something as another, or more of it.

    Args:
        arm: The arm that has as much.
        against: The other arm.
        figure: The figure of a cell that is compared.
        of: The statistic over the arm's seeds; over those of the other arm it is the median.
        more: Whether the arm must have more, so that as much is not enough.
        text: The hypothesis in a phrase.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    against: str
    figure: str
    of: Statistic = "median"
    more: bool = False
    text: str


class RobustnessDesign(BaseModel):
    """The design of the study, as robustness.yaml describes it.

    Args:
        revision: The number of changes of the code that made earlier results void.
        seeds: The seeds of every arm and world.
        budget: The image passes of every cell.
        worlds: By name, the `data` section of a config.
        shared: The parts of a config that all arms have.
        arms: By name, the parts of a config that replace the shared ones, section by section, and `share`, the share of
            the budget that the arm may spend (1 by default).
        hypotheses: The hypotheses for which arms are compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int
    seeds: tuple[int, ...]
    budget: int
    worlds: dict[str, Json]
    shared: Json
    arms: dict[str, Json]
    hypotheses: tuple[Hypothesis, ...] = ()

    def cells(self, arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
        """Return the cells seed by seed and world by world, so that a part of the study already compares all arms."""
        return [
            Cell(f"{world}/{arm}", seed, {"revision": self.revision, "config": self._config(world, arm)})
            for seed in seeds
            for world in self.worlds
            for arm in arms
        ]

    def _config(self, world: str, arm: str) -> Json:
        section = dict(self.arms[arm])
        budget = round(section.pop("share", 1) * self.budget)
        return {**self.shared, **section, "data": self.worlds[world], "budget": budget}


@STUDIES.register("robustness")
def study() -> Study:
    """Return the study that robustness.yaml describes."""
    design = RobustnessDesign.model_validate(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8")))
    return Study(
        tuple(design.arms),
        design.seeds,
        design.cells,
        run_cell,
        lambda results: format_table(design.worlds, design.arms, results, design.hypotheses),
        lambda results: draw_figure(design.worlds, design.arms, results),
    )


def cell_config(cell: Cell) -> Config:
    """Return the config of a cell's run."""
    return validate({**cell.description["config"], "seed": cell.seed, "tracking": {"enabled": False}})


def run_cell(cell: Cell) -> Json:
    """Run an arm on a world and return its figures.

    Returns:
        The figures by name: `mig` and `dci` (disentanglement) of the final model on all images, `gaps` (the MIG of each
        factor that varies, by name), `learned` (how many of these are at least 0.4), `passes` (image passes paid),
        `ends` (why each leaf run ended) and `device` (cpu or cuda).

    Raises:
        RuntimeError: No member ever had a score.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as temporary:
        folder = create_run(cell_config(cell), "cell", Path(temporary), None)
        prepared = api.prepare(folder, device=device)
        outcome = api.execute(prepared, Observers([]), api.InProcess())
        if outcome.model is None:
            raise RuntimeError(f"{cell.arm}, seed {cell.seed}: no member ever had a score")
        return {**_figures(outcome.model, prepared.data), **_account(outcome.result), "device": device}


def _figures(model: LatentModel, world: ImageData) -> Json:
    indices = np.arange(len(world))
    factors = world.factors(indices)
    assert factors is not None
    varying = np.flatnonzero(np.ptp(factors, axis=0) > 0)
    codes = model.encode(world.images(indices))
    scores = score(MetricInputs(codes, factors[:, varying]), ["mig", "dci"], intervals=False)
    gaps = scores["mig"].result.per_factor  # type: ignore[attr-defined]
    return {
        "mig": scores["mig"].values["score"],
        "dci": scores["dci"].values["disentanglement"],
        "gaps": {world.factor_names[column]: float(gap) for column, gap in zip(varying, gaps, strict=True)},
        "learned": int((gaps >= LEARNED).sum()),
    }


def _account(result: RunResult) -> Json:
    return {"passes": result.image_passes, "ends": [leaf.reason for leaf in result.leaf_runs]}


def format_table(
    worlds: Iterable[str], arms: Iterable[str], results: Results, hypotheses: Sequence[Hypothesis] = ()
) -> str:
    """Return Markdown tables: a row for each world and arm with results, and one for each hypothesis and world."""
    worlds = list(worlds)
    lines = [
        "Median over seeds, the interquartile range in brackets, then the worst seed.",
        "",
        "| world | arm | seeds | MIG | worst | DCI | worst | factors learned | worst | image passes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for world in worlds:
        for arm in arms:
            by_seed = _results_of(results, world, arm)
            if not by_seed:
                continue
            figures = [
                text
                for figure, digits in (("mig", 2), ("dci", 2), ("learned", 0))
                for text in _spread_and_worst([result[figure] for result in by_seed], digits)
            ]
            passes = np.median([result["passes"] for result in by_seed])
            lines.append(f"| {world} | {arm} | {len(by_seed)} | {' | '.join(figures)} | {passes:,.0f} |")
    rows = [row for each in hypotheses for world in worlds if (row := _hypothesis_row(each, world, results))]
    if rows:
        lines += [
            "",
            "| hypothesis | world | seeds | figure | arm | against | holds |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
    return "\n".join([*lines, *rows]) + "\n"


def _hypothesis_row(hypothesis: Hypothesis, world: str, results: Results) -> str | None:
    """Compare the two arms on the seeds that both have; return None where there is none."""
    by_seed = [
        {cell.seed: result[hypothesis.figure] for cell, result in results.items() if cell.arm == f"{world}/{arm}"}
        for arm in (hypothesis.arm, hypothesis.against)
    ]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    if not seeds:
        return None
    arm, other = ([values[seed] for seed in seeds] for values in by_seed)
    reached, threshold = (min(arm) if hypothesis.of == "worst" else float(np.median(arm))), float(np.median(other))
    holds = reached > threshold if hypothesis.more else reached >= threshold
    figures = f"{hypothesis.of} {hypothesis.figure} | {reached:.2f} | {threshold:.2f}"
    return f"| {hypothesis.text} | {world} | {len(seeds)} | {figures} | {'yes' if holds else 'no'} |"


def draw_figure(worlds: Iterable[str], arms: Iterable[str], results: Results) -> Figure:
    """Draw MIG and DCI of each arm, a column of boxes for each world; every seed is a dot, the worst one marked."""
    worlds, arms = list(worlds), list(arms)
    figure = Figure(figsize=(2.6 * len(worlds) + 1.4, 0.62 * len(arms) + 1.6), layout="constrained", facecolor="white")
    grid = figure.subplots(2, len(worlds), sharex=True, sharey=True, squeeze=False)
    for row, (figure_name, label) in enumerate((("mig", "MIG"), ("dci", "DCI"))):
        for axes, world in zip(grid[row], worlds, strict=True):
            columns = [[result[figure_name] for result in _results_of(results, world, arm)] for arm in arms]
            _draw_boxes(axes, columns)
            axes.set_yticks(range(len(arms)), arms)
            axes.set_xlabel(label)
            axes.set_title(world if row == 0 else "")
    grid[0][0].set_ylim(len(arms) - 0.5, -0.5)
    grid[0][0].set_xlim(0, 1)
    return figure


def _draw_boxes(axes: Axes, columns: Sequence[Sequence[float]]) -> None:
    for position, values in enumerate(columns):
        if not values:
            continue
        axes.boxplot(
            [values],
            positions=[position],
            orientation="horizontal",
            widths=0.6,
            whis=(0, 100),
            showfliers=False,
            medianprops={"color": INK},
            boxprops={"color": LINE},
            whiskerprops={"color": LINE},
            capprops={"color": LINE},
        )
        worst = int(np.argmin(values))
        colours = [ACCENT if index == worst else LINE for index in range(len(values))]
        axes.scatter(values, [position] * len(values), s=14, c=colours, zorder=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, axis="x", color="#d6dbe1", linewidth=0.6)


def _results_of(results: Results, world: str, arm: str) -> list[Json]:
    return [result for cell, result in results.items() if cell.arm == f"{world}/{arm}"]


def _spread_and_worst(values: Sequence[float], digits: int) -> tuple[str, str]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return (
        f"{middle:.{max(digits, 1)}f} ({low:.{max(digits, 1)}f}–{high:.{max(digits, 1)}f})",
        f"{min(values):.{digits}f}",
    )
