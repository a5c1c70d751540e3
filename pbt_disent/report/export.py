"""The figures and pictures of a run as files: PNG for slides and MLflow, SVG for papers, GIF for what moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pbt_disent.metrics import MetricResult
from pbt_disent.population.fitness import FITNESS
from pbt_disent.population.manifest import Manifest
from pbt_disent.report import figures
from pbt_disent.report.agreement import Agreement, agreements_of
from pbt_disent.report.model_view import view_model
from pbt_disent.report.pictures import png
from pbt_disent.report.run_view import LearnedLatent, RoundView, read_learned_latents, read_run

__all__ = ["population_picture", "write_figures", "write_matrices"]

_PIXELS = 64


def write_figures(run_folder: Path, folder: Path) -> list[Path]:
    """Write every figure of a run as PNG and SVG, and every traversal of its final model as PNG and GIF.

    Args:
        run_folder: The folder of the run, finished or not.
        folder: The folder of the figures; it is created, and files of the same names are replaced.

    Returns:
        The files: ``<round>-score``, ``<round>-<hyperparameter>``, ``<round>-lineage``, ``<round>-segments-<latent>``
        and ``<round>-agreement-<model>`` (slashes as dashes), then ``traversal-<latent>`` as PNG and GIF,
        ``reconstructions.png`` and ``samples.png``.

    Raises:
        UserError: The first folder is no run.
    """
    run = read_run(run_folder)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def write(name: str, content: bytes) -> None:
        written.append(folder / name)
        written[-1].write_bytes(content)

    learned = read_learned_latents(run_folder)
    agreements = dict(agreements_of(run))
    for view in run.rounds:
        if view.manifests:
            stem = view.path.replace("/", "-")
            for name, figure in _round_figures(view, learned, agreements.get(view.path)).items():
                for file_format in ("png", "svg"):
                    write(f"{stem}-{name}.{file_format}", figures.figure_bytes(figure, file_format))
    model = view_model(run, learned)
    if model is not None:
        zoom = max(1, _PIXELS // model.image_shape[2])
        for latent in model.latents:
            write(f"traversal-{latent.name}.png", png(latent.traversal, zoom))
            write(f"traversal-{latent.name}.gif", latent.animation)
        write("samples.png", png(model.samples, zoom))
        if model.reconstructions is not None:
            write("reconstructions.png", png(model.reconstructions, zoom))
    return written


def write_matrices(
    folder: Path, results: Mapping[str, MetricResult], latents: Sequence[str], factors: Sequence[str]
) -> list[Path]:
    """Write every array (Z, K) in the results of metrics as ``<metric>-<part>.png``.

    Args:
        folder: The folder of the pictures; it is created.
        results: The results by the name of the metric.
        latents: The Z names of the latents.
        factors: The K names of the factors.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, result in results.items():
        for field in fields(result):
            values = getattr(result, field.name)
            if isinstance(values, np.ndarray) and values.shape == (len(latents), len(factors)):
                figure = figures.matrix_figure(values, latents, factors, f"{name}: {field.name.replace('_', ' ')}")
                written.append(folder / f"{name}-{field.name}.png")
                written[-1].write_bytes(figures.figure_bytes(figure, "png"))
    return written


def population_picture(manifests: Sequence[Manifest], fitness: str) -> bytes:
    """Return scores and hyperparameters of a round over its generations as a small PNG, for its note in MLflow.

    Args:
        manifests: The manifests of the generations, one or more.
        fitness: The name of the fitness that the members are ranked by.
    """
    title = FITNESS[fitness].title if fitness in FITNESS else fitness
    figure = figures.population_figure(manifests, title)
    return figures.figure_bytes(figure, "png", dpi=80)


def _round_figures(view: RoundView, learned: Sequence[LearnedLatent], agreement: Agreement | None) -> dict[str, Figure]:
    names = figures.searched_hyperparameters(view.manifests)
    return {
        "score": figures.score_figure(view.manifests, view.fitness.title),
        **{name: figures.hyperparameter_figure(view.manifests, name) for name in names},
        "lineage": figures.lineage_figure(view.manifests),
        **{
            f"segments-f{latent.latent}": figures.segments_figure(latent.values, latent.segments)
            for latent in learned
            if latent.path == view.path
        },
        **({} if agreement is None else _agreement_figures(agreement)),
    }


def _agreement_figures(agreement: Agreement) -> dict[str, Figure]:
    """Return the latents of a round's best model against those of each other model of its member."""
    names = [[f"f{index}" for index, active in enumerate(row) if active] for row in agreement.active]
    best = agreement.best_model
    drawn = {}
    for other, correlations in enumerate(agreement.correlations):
        values = correlations[agreement.active[best]][:, agreement.active[other]]
        if other != best and values.size:
            title = f"model {best} and {other}: {agreement.pairwise[best, other]:.2f}"
            drawn[f"agreement-{other}"] = figures.matrix_figure(values, names[best], names[other], title)
    return drawn
