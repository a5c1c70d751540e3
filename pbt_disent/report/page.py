"""The report: one page that holds all it shows, readable without a network, on a phone, in light and in dark."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from pbt_disent.population.manifest import Manifest
from pbt_disent.report import figures
from pbt_disent.report.latents import FRAMES, ModelView, view_model
from pbt_disent.report.lineage import Step, ancestors, replacements, winner
from pbt_disent.report.pictures import data_uri, png
from pbt_disent.report.run_reader import RoundView, RunView, parent_path, read_run
from pbt_disent.report.svg import inline_svg
from pbt_disent.rounds.held_out import LABELS
from pbt_disent.store.files import write_atomically
from pbt_disent.types import Json

__all__ = ["FITNESS_LABELS", "render", "write_report"]

FITNESS_LABELS = {"udr": "UDR", "leaf_mig": "leaf-MIG", "mig": "MIG", "nmig": "nMIG", "dci": "DCI"}
_REASONS = {
    "converged": "the best score stopped moving",
    "max_generations": "the last generation was reached",
    "nothing_learned": "nothing was learned",
}


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into a run folder, of whatever the run has come to.

    Raises:
        UserError: the folder is no run.
    """
    path = run_folder / "report.html"
    write_atomically(path, render(read_run(run_folder)).encode())
    return path


def render(run: RunView) -> str:
    """Return the page of a run as HTML; equal runs give equal pages."""
    parts = resources.files("pbt_disent.report")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: (parts / name).read_text(encoding="utf-8")),
    )
    environment.filters |= {"count": _count, "number": _number}
    environment.globals["parts"] = {
        name: Markup((parts / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")
    }
    seen = view_model(run)
    model = None if seen is None else _model(seen)
    return environment.get_template("page.html.j2").render(
        run=run,
        model=model,
        order=model["latents"] if model else [],
        tree=_tree(run),
        populations=[_population(view, index) for index, view in enumerate(run.rounds) if view.manifests],
        truth=(run.scores or {}).get("true_factors"),
        final=(run.scores or {}).get("final"),
        held_out=_held_out(run),
        finished=run.scores is not None,
        frames=FRAMES,
    )


def _model(model: ModelView) -> Json:
    """Return what the page shows of a model; latents that carry next to nothing come last and folded."""
    shown = [
        {
            "view": latent,
            "information": "unknown" if math.isnan(latent.information) else f"{latent.information:.2f} nats",
            "active": not latent.information < 0.05,
            "picture": data_uri(png(latent.sheet)),
            "factors": [pair for pair in latent.factors if pair[1] >= 0.05][:3],
        }
        for latent in model.latents
    ]
    reconstructions = None if model.reconstructions is None else data_uri(png(model.reconstructions))
    return {"latents": shown, "width": model.width, "height": model.height, "reconstructions": reconstructions}


def _held_out(run: RunView) -> Json | None:
    """Return the scores on images that were never trained on, as pairs of name and value, and how many these are."""
    scores = (run.scores or {}).get("held_out")
    if not scores:
        return None
    return {
        "images": scores["images"],
        "scores": [(name, scores[key]) for key, name in LABELS.items() if scores.get(key) is not None],
    }


def _tree(run: RunView) -> list[Json]:
    """Return the rounds as rows of a tree, each behind the round that it was cut from, with its depth."""
    rows: list[Json] = []

    def visit(view: RoundView, depth: int) -> None:
        rows.append(_row(view, depth))
        for child in run.rounds:
            if parent_path(child.path) == view.path:
                visit(child, depth + 1)

    known = {view.path for view in run.rounds}
    for view in run.rounds:
        if parent_path(view.path) not in known:
            visit(view, 0)
    return rows


def _row(view: RoundView, depth: int) -> Json:
    cut, labelled = view.events.get("cut", {}), view.events.get("labelled", {})
    best = winner(view.manifests)
    finished = view.events.get("finished")
    reason = str(finished.get("reason", "")) if finished else ""
    return {
        "path": view.path,
        "depth": depth,
        "images": view.fact_of("started", "images"),
        "label": _label(view),
        "score": None if best is None else view.manifests[best.generation].members[best.member].score,
        "generations": len(view.manifests),
        "reason": _REASONS.get(reason, reason.replace("_", " ")) if finished else "not finished",
        "frozen": sorted(f"f{name}" for name in cut.get("frozen", {})),
        "learned": [f"f{latent}" for latent in labelled.get("latents", [])],
        "passes": view.images,
    }


def _population(view: RoundView, index: int) -> Json:
    """Return the figures and tables of one round."""
    manifests, label = view.manifests, _label(view)
    best = winner(manifests)
    way = ancestors(manifests, best)
    names = figures.searched(manifests)
    summary = _in_words(manifests, best, label)
    charts = [(f"{label} by generation", figures.score_figure(manifests, label), _median(manifests))]
    charts += [
        (f"{name} by generation", figures.hyperparameter_figure(manifests, name), _course(manifests, way, name))
        for name in names
    ]
    charts.append(
        ("Who replaced whom", figures.lineage_figure(manifests), f"{len(replacements(manifests))} replacements.")
    )
    return {
        "path": view.path,
        "id": f"round-{index}",
        "summary": summary,
        "charts": [
            {"title": title, "svg": Markup(inline_svg(figure, f"r{index}c{number}", f"{title}. {text}")), "text": text}
            for number, (title, figure, text) in enumerate(charts)
        ],
        "replacements": [(generation, record) for generation, record in replacements(manifests)],
        "names": names,
        "members": len(manifests[0].members),
        "models": _models(manifests),
        "winning": sum(manifests[step.generation].members[step.member].images for step in way),
        "failed": sum(record.images for m in manifests for record in m.members if record.score is None),
        "passes": view.images,
    }


def _in_words(manifests: Sequence[Manifest], best: Step | None, label: str) -> str:
    if best is None:
        return "No member has a score."
    record = manifests[best.generation].members[best.member]
    return f"Best {label} {record.score:.3f}: member {best.member} in generation {best.generation}."


def _median(manifests: Sequence[Manifest]) -> str:
    scores = [record.score for record in manifests[-1].members if record.score is not None]
    return f"Median of the last generation {statistics.median(scores):.3f}." if scores else ""


def _course(manifests: Sequence[Manifest], way: Sequence[Step], name: str) -> str:
    on_the_way = [manifests[step.generation].members[step.member].hyperparameters for step in way]
    values = [one[name] for one in on_the_way if name in one]
    return f"The winner's line began at {_number(values[0])} and ended at {_number(values[-1])}." if values else ""


def _models(manifests: Sequence[Manifest]) -> int:
    replicas = max((len(r.replica_scores) for m in manifests for r in m.members), default=1)
    return len(manifests[0].members) * max(replicas, 1)


def _label(view: RoundView) -> str:
    name = str(view.fact_of("started", "fitness") or "score")
    return FITNESS_LABELS.get(name, name)


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "unknown"


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "none"
