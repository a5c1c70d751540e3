"""The latent x factor matrices of metric results as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pbt_disent.metrics import MetricResult
from pbt_disent.report.svg import figure_bytes
from pbt_disent.types import FloatArray

__all__ = ["matrix_figure", "write_matrices"]


def matrix_figure(values: FloatArray, latents: Sequence[str], factors: Sequence[str], title: str) -> Figure:
    """Return a picture of a matrix (Z, K) with its values written into it."""
    rows, columns = values.shape
    figure = Figure(figsize=(1.6 + 0.8 * columns, 1.2 + 0.4 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Oranges", vmin=0, aspect="auto")
    axes.set_xticks(range(columns), list(factors), rotation=30, ha="right")
    axes.set_yticks(range(rows), list(latents))
    axes.set_title(title)
    top = float(values.max())
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value > 0.6 * top else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    return figure


def write_matrices(
    folder: Path, results: Mapping[str, MetricResult], latents: Sequence[str], factors: Sequence[str]
) -> list[Path]:
    """Write every (Z, K) array in the results as ``<metric>-<part>.png`` and return the files.

    Args:
        folder: created if need be.
        results: by name of the metric.
        latents: the Z names.
        factors: the K names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, result in results.items():
        for field in fields(result):
            values = getattr(result, field.name)
            if isinstance(values, np.ndarray) and values.shape == (len(latents), len(factors)):
                title = f"{name}: {field.name.replace('_', ' ')}"
                written.append(folder / f"{name}-{field.name}.png")
                written[-1].write_bytes(figure_bytes(matrix_figure(values, latents, factors, title), "png"))
    return written
