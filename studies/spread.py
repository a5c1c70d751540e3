"""Median, interquartile range and worst seed of each arm on each world, as a table and as box plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from pbt_disent.types import Json
from studies.cells import Cell

__all__ = ["Goal", "draw_boxes", "tabulate"]

INK, LINE, ACCENT = "#1c2128", "#8593a3", "#b3410e"


Statistic = Literal["median", "worst"]


class Goal(BaseModel):
    """That one arm has at least as much of something as another, or more of it.

    Args:
        arm: which has it.
        against: the other arm.
        figure: of a cell.
        of: what counts of the arm's seeds; of the other arm's it is the median.
        more: whether as much is not enough.
        says: the goal in a phrase.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    against: str
    figure: str
    of: Statistic = "median"
    more: bool = False
    says: str


def tabulate(
    worlds: Iterable[str], arms: Iterable[str], results: Mapping[Cell, Json], goals: Sequence[Goal] = ()
) -> str:
    """Return Markdown tables: a row for each world and arm that has results, and one for each world and goal."""
    worlds = list(worlds)
    lines = [
        "Median over seeds, the interquartile range in brackets, then the worst seed.",
        "",
        "| world | arm | seeds | MIG | worst | DCI | worst | factors learned | worst | image passes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for world in worlds:
        for arm in arms:
            seen = _of(results, world, arm)
            if not seen:
                continue
            parts = [
                part
                for key, digits in (("mig", 2), ("dci", 2), ("learned", 0))
                for part in _spread([result[key] for result in seen], digits)
            ]
            passes = np.median([result["passes"] for result in seen])
            lines.append(f"| {world} | {arm} | {len(seen)} | {' | '.join(parts)} | {passes:,.0f} |")
    rows = [row for goal in goals for world in worlds if (row := _goal_row(goal, world, results))]
    if rows:
        lines += [
            "",
            "| goal | world | seeds | figure | arm | against | reached |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
    return "\n".join([*lines, *rows]) + "\n"


def _goal_row(goal: Goal, world: str, results: Mapping[Cell, Json]) -> str | None:
    """Compare the two arms on the seeds that both have; none where there is none."""
    by_seed = [
        {cell.seed: result[goal.figure] for cell, result in results.items() if cell.arm == f"{world}/{arm}"}
        for arm in (goal.arm, goal.against)
    ]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    if not seeds:
        return None
    own, other = ([values[seed] for seed in seeds] for values in by_seed)
    reached, bar = (min(own) if goal.of == "worst" else float(np.median(own))), float(np.median(other))
    holds = reached > bar if goal.more else reached >= bar
    figures = f"{goal.of} {goal.figure} | {reached:.2f} | {bar:.2f}"
    return f"| {goal.says} | {world} | {len(seeds)} | {figures} | {'yes' if holds else 'no'} |"


def draw_boxes(worlds: Iterable[str], arms: Iterable[str], results: Mapping[Cell, Json]) -> Figure:
    """Draw MIG and DCI of each arm, a column of boxes for each world; every seed is a dot, the worst one marked."""
    worlds, arms = list(worlds), list(arms)
    figure = Figure(figsize=(2.6 * len(worlds) + 1.4, 0.62 * len(arms) + 1.6), layout="constrained", facecolor="white")
    grid = figure.subplots(2, len(worlds), sharex=True, sharey=True, squeeze=False)
    for row, (key, label) in enumerate((("mig", "MIG"), ("dci", "DCI"))):
        for axes, world in zip(grid[row], worlds, strict=True):
            _boxes(axes, [[result[key] for result in _of(results, world, arm)] for arm in arms])
            axes.set_yticks(range(len(arms)), arms)
            axes.set_xlabel(label)
            axes.set_title(world if row == 0 else "")
    grid[0][0].set_ylim(len(arms) - 0.5, -0.5)
    grid[0][0].set_xlim(0, 1)
    return figure


def _boxes(axes: Axes, columns: Sequence[Sequence[float]]) -> None:
    for place, values in enumerate(columns):
        if not values:
            continue
        axes.boxplot(
            [values],
            positions=[place],
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
        axes.scatter(values, [place] * len(values), s=14, c=colours, zorder=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, axis="x", color="#d6dbe1", linewidth=0.6)


def _of(results: Mapping[Cell, Json], world: str, arm: str) -> list[Json]:
    return [result for cell, result in results.items() if cell.arm == f"{world}/{arm}"]


def _spread(values: Sequence[float], digits: int) -> tuple[str, str]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return (
        f"{middle:.{max(digits, 1)}f} ({low:.{max(digits, 1)}f}–{high:.{max(digits, 1)}f})",
        f"{min(values):.{digits}f}",
    )
