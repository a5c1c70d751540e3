"""The figures and pictures of a run as files: PNG for slides and MLflow, SVG for papers, GIF for what moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pbt_disent.population.fitness import FITNESS
from pbt_disent.population.manifest import Manifest
from pbt_disent.report import figures
from pbt_disent.report.agreement import Agreement, agreements_of
from pbt_disent.report.found import found_latents
from pbt_disent.report.latents import view_model
from pbt_disent.report.matrices import matrix_figure
from pbt_disent.report.pictures import png
from pbt_disent.report.run_reader import read_run
from pbt_disent.report.svg import figure_bytes

__all__ = ["population_picture", "write_figures"]

_PIXELS = 64


def write_figures(run_folder: Path, folder: Path) -> list[Path]:
    """Write every figure of a run as PNG and SVG, and every traversal of its final model as PNG.

    Args:
        run_folder: of the run, finished or not.
        folder: where they go; it is created, and files of the same names are replaced.

    Returns:
        The files: ``<round>-score``, ``<round>-<hyperparameter>``, ``<round>-lineage``, ``<round>-segments-<latent>``
        and ``<round>-agreement-<model>`` (slashes as dashes), then ``traversal-<latent>`` as PNG and GIF,
        ``reconstructions.png`` and ``samples.png``.

    Raises:
        UserError: the first folder is no run.
    """
    run = read_run(run_folder)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def write(name: str, content: bytes) -> None:
        written.append(folder / name)
        written[-1].write_bytes(content)

    found = found_latents(run_folder / "labels" / "labels.parquet")
    agreements = dict(agreements_of(run))
    for view in run.rounds:
        if not view.manifests:
            continue
        stem = view.path.replace("/", "-")
        drawn = {"score": figures.score_figure(view.manifests, view.fitness.title)}
        drawn |= {
            name: figures.hyperparameter_figure(view.manifests, name) for name in figures.searched(view.manifests)
        }
        drawn["lineage"] = figures.lineage_figure(view.manifests)
        drawn |= {
            f"segments-f{one.latent}": figures.segments_figure(one.values, one.segments)
            for one in found
            if one.path == view.path
        }
        drawn |= _matrices(agreements.get(view.path))
        for name, figure in drawn.items():
            for kind in ("png", "svg"):
                write(f"{stem}-{name}.{kind}", figure_bytes(figure, kind))
    model = view_model(run, found)
    if model is not None:
        scale = max(1, _PIXELS // model.width)
        for latent in model.latents:
            write(f"traversal-{latent.name}.png", png(latent.sheet, scale))
            write(f"traversal-{latent.name}.gif", latent.animation)
        write("samples.png", png(model.samples, scale))
        if model.reconstructions is not None:
            write("reconstructions.png", png(model.reconstructions, scale))
    return written


def population_picture(manifests: Sequence[Manifest], fitness: str) -> bytes:
    """Return scores and hyperparameters of a round over its generations as a small PNG, for its note in MLflow.

    Args:
        manifests: the generations, one or more.
        fitness: The name of what its members are ranked by.
    """
    title = FITNESS[fitness].title if fitness in FITNESS else fitness
    return figure_bytes(figures.population_figure(manifests, title), "png", dpi=80)


def _matrices(seen: Agreement | None) -> dict[str, Figure]:
    """Return the latents of a round's best model against those of each other model of its member."""
    if seen is None:
        return {}
    names = [[f"f{index}" for index, active in enumerate(row) if active] for row in seen.active]
    drawn = {}
    for other, strengths in enumerate(seen.strengths):
        kept = strengths[seen.active[seen.chosen]][:, seen.active[other]]
        if other != seen.chosen and kept.size:
            title = f"model {seen.chosen} and {other}: {seen.pairwise[seen.chosen, other]:.2f}"
            drawn[f"agreement-{other}"] = matrix_figure(kept, names[seen.chosen], names[other], title)
    return drawn
