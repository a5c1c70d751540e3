"""Turn a figure into SVG that lives inside a page: it takes the page's colours and font, and refers to nothing."""

from __future__ import annotations

import io
import re
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from pbt_disent.report.figures import ACCENT, GRID, INK, MUTED

__all__ = ["figure_bytes", "inline_svg"]

_COLOURS = {INK: "var(--ink)", MUTED: "var(--line)", GRID: "var(--grid)", ACCENT: "var(--accent)"}


def figure_bytes(figure: Figure, kind: str, dpi: int = 200) -> bytes:
    """Return a figure as a PNG or SVG file; equal figures give equal bytes.

    Args:
        figure: the figure.
        kind: ``png`` or ``svg``.
        dpi: dots per inch of a PNG.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pbt-disent"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an ``<svg>`` element.

    Args:
        figure: the figure.
        name: unique in the page; prefixes every id within.
        description: what a reader who cannot see it is told.
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
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, variable)
    return text.strip()
