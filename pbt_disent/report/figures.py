"""Figures as matplotlib draws them, and their way into files and into the page.

The figures of a population are functions of its manifests. Every member is a thin line from generation to generation,
the winner's lineage a thick one in another colour; where a member was replaced, its line comes from the parent.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter, StrMethodFormatter

from pbt_disent.population.manifest import Manifest, MemberRecord
from pbt_disent.report.run_view import LineageStep, ancestors, winner
from pbt_disent.types import FloatArray, Hyperparameters, IntArray

__all__ = [
    "ACCENT",
    "figure_bytes",
    "hyperparameter_figure",
    "inline_svg",
    "lineage_figure",
    "matrix_figure",
    "population_figure",
    "score_figure",
    "searched_hyperparameters",
    "segments_figure",
]

INK, MUTED, GRID, ACCENT = "#1c2128", "#8593a3", "#d6dbe1", "#b3410e"
_CSS_COLOURS = {INK: "var(--ink)", MUTED: "var(--line)", GRID: "var(--grid)", ACCENT: "var(--accent)"}
_SIZE = (4.2, 2.7)

Value = Callable[[MemberRecord], float | None]


def score_figure(manifests: Sequence[Manifest], label: str) -> Figure:
    """Draw the score of every member over the generations.

    Args:
        manifests: The manifests of the generations, one or more.
        label: The name of the score.
    """
    figure, axes = _axes(_SIZE)
    _draw_members(axes, manifests, lambda record: record.score)
    axes.set_ylabel(label)
    return figure


def hyperparameter_figure(manifests: Sequence[Manifest], name: str) -> Figure:
    """Draw every member's value of a hyperparameter over the generations, beyond a factor of 5 on a log scale."""
    figure, axes = _axes(_SIZE)
    _draw_hyperparameter(axes, manifests, name)
    return figure


def population_figure(manifests: Sequence[Manifest], label: str) -> Figure:
    """Draw the scores and, beside them, the first two searched hyperparameters over the generations."""
    names = searched_hyperparameters(manifests)[:2]
    figure = Figure(figsize=(_SIZE[0] * (1 + len(names)), _SIZE[1]), layout="constrained", facecolor="none")
    first, *rest = figure.subplots(1, 1 + len(names), squeeze=False)[0]
    _draw_members(_style(first), manifests, lambda record: record.score)
    first.set_ylabel(label)
    for axes, name in zip(rest, names, strict=True):
        _draw_hyperparameter(_style(axes), manifests, name)
    return figure


def lineage_figure(manifests: Sequence[Manifest]) -> Figure:
    """Draw who replaced whom: a row per member, a column per generation, a cross for a member without a score."""
    size = len(manifests[0].members)
    figure, axes = _axes((max(4.2, 1.0 + 0.34 * len(manifests)), max(1.8, 0.7 + 0.2 * size)))
    winners = set(ancestors(manifests, winner(manifests)))
    _draw_descent(axes, manifests, lambda record: float(record.member), winners)
    for has_score, marker in ((True, "o"), (False, "x")):
        steps = [
            LineageStep(manifest.generation, record.member)
            for manifest in manifests
            for record in manifest.members
            if (record.score is not None) == has_score
        ]
        colours = [ACCENT if step in winners else MUTED for step in steps]
        x, y = [step.generation for step in steps], [step.member for step in steps]
        axes.scatter(x, y, s=14, c=colours, marker=marker, zorder=3)
    axes.set_ylim(size - 0.5, -0.5)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    axes.set_ylabel("member")
    axes.grid(visible=False)
    return figure


def segments_figure(values: FloatArray, segments: IntArray) -> Figure:
    """Draw how many images have each value of a latent.

    Segments have two colours in turn; images in no segment are hollow.

    Args:
        values: The values of the latent, an array (N,).
        segments: The segment of each image, an array (N,), with -1 for none.
    """
    figure, axes = _axes((4.2, 1.7))
    edges = np.linspace(float(values.min()), float(values.max()) + 1e-9, 61)
    in_segment = segments >= 0
    bottom = np.zeros(len(edges) - 1)
    for images, face, edge in (
        (in_segment & (segments % 2 == 0), MUTED, MUTED),
        (in_segment & (segments % 2 == 1), ACCENT, ACCENT),
        (~in_segment, "none", MUTED),
    ):
        if not images.any():
            continue
        height, _ = np.histogram(values[images], edges)
        bars = height > 0
        style: dict[str, Any] = {"align": "edge", "color": face, "edgecolor": edge, "linewidth": 0.5}
        axes.bar(edges[:-1][bars], height[bars], np.diff(edges)[bars], bottom[bars], **style)
        bottom += height
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axes.set_xlabel("value")
    axes.set_ylabel("images")
    return figure


def matrix_figure(values: FloatArray, rows: Sequence[str], columns: Sequence[str], title: str) -> Figure:
    """Draw a matrix with its values written into it.

    Args:
        values: The matrix, an array (R, C).
        rows: The R names of the rows, such as latents.
        columns: The C names of the columns, such as factors.
        title: The title.
    """
    num_rows, num_columns = values.shape
    figure = Figure(figsize=(1.6 + 0.8 * num_columns, 1.2 + 0.4 * num_rows), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Oranges", vmin=0, aspect="auto")
    axes.set_xticks(range(num_columns), list(columns), rotation=30, ha="right")
    axes.set_yticks(range(num_rows), list(rows))
    axes.set_title(title)
    top = float(values.max())
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value > 0.6 * top else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    return figure


def searched_hyperparameters(manifests: Sequence[Manifest]) -> list[str]:
    """Return the hyperparameters that differ between members of one objective or between generations, by name."""
    first: dict[str, Hyperparameters] = {}
    names = set[str]()
    for record in (record for manifest in manifests for record in manifest.members):
        start = first.setdefault(record.objective, record.hyperparameters)
        names |= {name for name, value in record.hyperparameters.items() if value != start[name]}
    return sorted(names)


def figure_bytes(figure: Figure, file_format: str, dpi: int = 200) -> bytes:
    """Return a figure as a file; equal figures give equal bytes.

    Args:
        figure: The figure.
        file_format: The format of the file, ``png`` or ``svg``.
        dpi: The dots per inch of a PNG.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pbt-disent"}):
        metadata = {"Date": None} if file_format == "svg" else {"Software": None}
        figure.savefig(buffer, format=file_format, dpi=dpi, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an ``<svg>`` element that takes the colours and the font of the page and refers to nothing.

    Args:
        figure: The figure.
        name: A name that is unique in the page; it prefixes every id within the element.
        description: The text for readers who cannot see the figure.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    if box is None:
        raise ValueError("the figure has no view box")
    head = (
        f'<svg viewBox="0 0 {box[1]} {box[2]}" role="img" aria-label="{escape(description, quote=True)}" '
        f'style="max-width:{float(box[1]) * 1.5:.0f}px">'
    )
    text = re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'url\(#|href="#', lambda match: f"{match[0]}{name}-", text)
    for colour, variable in _CSS_COLOURS.items():
        text = text.replace(colour, variable)
    return text.strip()


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained", facecolor="none")
    return figure, _style(figure.add_subplot())


def _style(axes: Axes) -> Axes:
    """Give axes over generations the looks that all figures share."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, which="both", labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda generation, _: f"{generation + 1:.0f}"))  # counted from 1
    axes.set_xlabel("generation")
    return axes


def _draw_hyperparameter(axes: Axes, manifests: Sequence[Manifest], name: str) -> None:
    records = [record for manifest in manifests for record in manifest.members]
    values = [record.hyperparameters[name] for record in records if name in record.hyperparameters]
    if min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _draw_members(axes, manifests, lambda record: record.hyperparameters.get(name))
    axes.set_ylabel(name)


def _draw_members(axes: Axes, manifests: Sequence[Manifest], value: Value) -> None:
    """Draw a value of every member over the generations, the winner's lineage above the others."""
    steps = ancestors(manifests, winner(manifests))
    _draw_descent(axes, manifests, value, set(steps))
    points = [(m.generation, y) for m in manifests for record in m.members if (y := value(record)) is not None]
    axes.scatter([x for x, _ in points], [y for _, y in points], s=5, c=MUTED, zorder=2)
    marked = [(step.generation, value(manifests[step.generation].members[step.member])) for step in steps]
    axes.plot([x for x, y in marked if y is not None], [y for _, y in marked if y is not None], "o", ms=3.5, c=ACCENT)
    axes.autoscale_view()


def _draw_descent(axes: Axes, manifests: Sequence[Manifest], value: Value, winners: set[LineageStep]) -> None:
    """Draw a line from every member to its parent, those of the winner's lineage above the others."""
    thin: list[list[tuple[float, float]]] = []
    thick: list[list[tuple[float, float]]] = []
    for earlier, later in pairwise(manifests):
        for record in later.members:
            if record.parent is None:
                continue
            start, stop = value(earlier.members[record.parent]), value(record)
            if start is None or stop is None:
                continue
            line = [(float(earlier.generation), start), (float(later.generation), stop)]
            (thick if LineageStep(later.generation, record.member) in winners else thin).append(line)
    axes.add_collection(LineCollection(thin, colors=MUTED, linewidths=0.8, zorder=1))
    axes.add_collection(LineCollection(thick, colors=ACCENT, linewidths=2.2, zorder=2))
