"""The figures of a population as functions of its manifests: scores, hyperparameters, lineage.

Every member is a thin line from generation to generation, the winner's lineage a thick one in another colour; where a
member was replaced, its line comes from the parent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter, StrMethodFormatter

from pbt_disent.population.manifest import Manifest, MemberRecord
from pbt_disent.report.lineage import Step, ancestors, winner
from pbt_disent.types import FloatArray, Hyperparameters, IntArray

__all__ = [
    "ACCENT",
    "GRID",
    "INK",
    "MUTED",
    "hyperparameter_figure",
    "lineage_figure",
    "population_figure",
    "score_figure",
    "searched",
    "segments_figure",
]

INK, MUTED, GRID, ACCENT = "#1c2128", "#8593a3", "#d6dbe1", "#b3410e"
_SIZE = (4.2, 2.7)

Value = Callable[[MemberRecord], float | None]


def score_figure(manifests: Sequence[Manifest], label: str) -> Figure:
    """Draw every member's score over the generations.

    Args:
        manifests: the generations, one or more.
        label: what the score is.
    """
    figure, axes = _axes(_SIZE)
    _lines(axes, manifests, lambda record: record.score)
    axes.set_ylabel(label)
    return figure


def hyperparameter_figure(manifests: Sequence[Manifest], name: str) -> Figure:
    """Draw every member's value of a hyperparameter over the generations; beyond a factor of 5 on a log scale."""
    figure, axes = _axes(_SIZE)
    _hyperparameter(axes, manifests, name)
    return figure


def population_figure(manifests: Sequence[Manifest], label: str) -> Figure:
    """Draw scores and, beside them, the first two searched hyperparameters over the generations."""
    names = searched(manifests)[:2]
    figure = Figure(figsize=(_SIZE[0] * (1 + len(names)), _SIZE[1]), layout="constrained", facecolor="none")
    first, *others = figure.subplots(1, 1 + len(names), squeeze=False)[0]
    _lines(_dressed(first), manifests, lambda record: record.score)
    first.set_ylabel(label)
    for axes, name in zip(others, names, strict=True):
        _hyperparameter(_dressed(axes), manifests, name)
    return figure


def _hyperparameter(axes: Axes, manifests: Sequence[Manifest], name: str) -> None:
    records = [record for manifest in manifests for record in manifest.members]
    values = [record.hyperparameters[name] for record in records if name in record.hyperparameters]
    if min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _lines(axes, manifests, lambda record: record.hyperparameters.get(name))
    axes.set_ylabel(name)


def lineage_figure(manifests: Sequence[Manifest]) -> Figure:
    """Draw who replaced whom: a row per member slot, a column per generation, a cross for a member without a score."""
    size = len(manifests[0].members)
    figure, axes = _axes((max(4.2, 1.0 + 0.34 * len(manifests)), max(1.8, 0.7 + 0.2 * size)))
    chosen = set(ancestors(manifests, winner(manifests)))
    _segments(axes, manifests, lambda record: float(record.member), chosen)
    for scored, marker in ((True, "o"), (False, "x")):
        steps = [Step(m.generation, r.member) for m in manifests for r in m.members if (r.score is not None) == scored]
        colours = [ACCENT if step in chosen else MUTED for step in steps]
        x, y = [step.generation for step in steps], [step.member for step in steps]
        axes.scatter(x, y, s=14, c=colours, marker=marker, zorder=3)
    axes.set_ylim(size - 0.5, -0.5)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    axes.set_ylabel("member")
    axes.grid(visible=False)
    return figure


def segments_figure(values: FloatArray, segments: IntArray) -> Figure:
    """Draw how many images have each value of a latent: its segments in two colours in turn, what is in none hollow.

    Args:
        values: (N,) of the latent.
        segments: (N,) the segment of each image, -1 for none.
    """
    figure, axes = _axes((4.2, 1.7))
    edges = np.linspace(float(values.min()), float(values.max()) + 1e-9, 61)
    inside = segments >= 0
    below = np.zeros(len(edges) - 1)
    for chosen, face, edge in (
        (inside & (segments % 2 == 0), MUTED, MUTED),
        (inside & (segments % 2 == 1), ACCENT, ACCENT),
        (~inside, "none", MUTED),
    ):
        if not chosen.any():
            continue
        height, _ = np.histogram(values[chosen], edges)
        drawn = height > 0
        style: dict[str, Any] = {"align": "edge", "color": face, "edgecolor": edge, "linewidth": 0.5}
        axes.bar(edges[:-1][drawn], height[drawn], np.diff(edges)[drawn], below[drawn], **style)
        below += height
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axes.set_xlabel("value")
    axes.set_ylabel("images")
    return figure


def searched(manifests: Sequence[Manifest]) -> list[str]:
    """Return the hyperparameters that differ between members of a kind, or between generations, by name."""
    first: dict[str, Hyperparameters] = {}
    found = set[str]()
    for record in (record for manifest in manifests for record in manifest.members):
        start = first.setdefault(record.objective, record.hyperparameters)
        found |= {name for name, value in record.hyperparameters.items() if value != start[name]}
    return sorted(found)


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained", facecolor="none")
    return figure, _dressed(figure.add_subplot())


def _dressed(axes: Axes) -> Axes:
    """Give axes the looks that all figures share."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, which="both", labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place + 1:.0f}"))  # people count from 1
    axes.set_xlabel("generation")
    return axes


def _lines(axes: Axes, manifests: Sequence[Manifest], value: Value) -> None:
    chosen = ancestors(manifests, winner(manifests))
    _segments(axes, manifests, value, set(chosen))
    points = [(m.generation, y) for m in manifests for record in m.members if (y := value(record)) is not None]
    axes.scatter([x for x, _ in points], [y for _, y in points], s=5, c=MUTED, zorder=2)
    marked = [(step.generation, value(manifests[step.generation].members[step.member])) for step in chosen]
    axes.plot([x for x, y in marked if y is not None], [y for _, y in marked if y is not None], "o", ms=3.5, c=ACCENT)
    axes.autoscale_view()


def _segments(axes: Axes, manifests: Sequence[Manifest], value: Value, chosen: set[Step]) -> None:
    """Draw a line from every member to the one that it continues, those of the chosen above the others."""
    thin: list[list[tuple[float, float]]] = []
    thick: list[list[tuple[float, float]]] = []
    for before, after in pairwise(manifests):
        for record in after.members:
            if record.parent is None:
                continue
            start, stop = value(before.members[record.parent]), value(record)
            if start is None or stop is None:
                continue
            segment = [(float(before.generation), start), (float(after.generation), stop)]
            (thick if Step(after.generation, record.member) in chosen else thin).append(segment)
    axes.add_collection(LineCollection(thin, colors=MUTED, linewidths=0.8, zorder=1))
    axes.add_collection(LineCollection(thick, colors=ACCENT, linewidths=2.2, zorder=2))
