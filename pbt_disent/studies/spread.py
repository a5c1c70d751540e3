"""Median, interquartile range and worst seed of each arm on each world, as a table and as box plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pbt_disent.studies.cells import Cell
from pbt_disent.types import Json

__all__ = ["draw_boxes", "tabulate"]

INK, LINE, ACCENT = "#1c2128", "#8593a3", "#b3410e"


def tabulate(worlds: Iterable[str], arms: Iterable[str], results: Mapping[Cell, Json]) -> str:
    """Return a Markdown table with a row for each world and arm that has results."""
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
    return "\n".join(lines) + "\n"


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
