"""What the page shows of the rounds, as plain values for its template: tree, populations, labels, cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from markupsafe import Markup

from pbt_disent.metrics import Interval
from pbt_disent.population.clock import RoundTime, RunUsage
from pbt_disent.population.manifest import Manifest, member_interval, score_text
from pbt_disent.report import figures
from pbt_disent.report.run_view import (
    LearnedLatent,
    LineageStep,
    RoundView,
    RunView,
    ancestors,
    parent_path,
    replacements,
    winner,
)
from pbt_disent.types import Json

__all__ = [
    "cost_context",
    "format_number",
    "learned_latents_context",
    "population_context",
    "round_tree",
]

_REASONS = {
    "converged": "the best score stopped moving",
    "max_generations": "the last generation was reached",
    "nothing_learned": "nothing was learned",
}


def round_tree(run: RunView) -> list[Json]:
    """Return the rounds as the rows of a tree, each after the round that it was cut from, with its depth."""
    rows: list[Json] = []

    def visit(view: RoundView, depth: int) -> None:
        rows.append(_round_row(view, depth))
        for child in run.rounds:
            if parent_path(child.path) == view.path:
                visit(child, depth + 1)

    paths = {view.path for view in run.rounds}
    for view in run.rounds:
        if parent_path(view.path) not in paths:
            visit(view, 0)
    return rows


def population_context(view: RoundView, index: int) -> Json:
    """Return the figures and tables of one round.

    Args:
        view: The round, with one generation or more.
        index: The index of the round in the page.
    """
    manifests, label = view.manifests, _score_label(view)
    best = winner(manifests)
    lineage = ancestors(manifests, best)
    names = figures.searched_hyperparameters(manifests)
    replaced = replacements(manifests)
    charts = [(f"{label} by generation", figures.score_figure(manifests, label), _median_sentence(manifests))]
    charts += [
        (
            f"{name} by generation",
            figures.hyperparameter_figure(manifests, name),
            _schedule_sentence(manifests, lineage, name),
        )
        for name in names
    ]
    count = "1 replacement." if len(replaced) == 1 else f"{len(replaced)} replacements."
    charts.append(("Who replaced whom", figures.lineage_figure(manifests), count))
    return {
        "path": view.path,
        "id": f"round-{index}",
        "summary": _summary(view, best),
        "charts": [
            {
                "title": title,
                "svg": Markup(figures.inline_svg(figure, f"r{index}c{number}", f"{title}. {text}")),
                "text": text,
            }
            for number, (title, figure, text) in enumerate(charts)
        ],
        "replacements": replaced,
        "names": names,
    }


def learned_latents_context(learned: Sequence[LearnedLatent]) -> list[Json]:
    """Return the latents that the rounds learned, each with a figure of its segments."""
    return [
        {
            "name": latent.name,
            "num_images": len(latent.images),
            "num_segments": latent.num_segments,
            "svg": Markup(
                figures.inline_svg(
                    figures.segments_figure(latent.values, latent.segments),
                    f"learned{number}",
                    f"Values of {latent.name}: {latent.num_segments or 'no'} segments of {len(latent.images)} images",
                )
            ),
        }
        for number, latent in enumerate(learned)
    ]


def cost_context(run: RunView, usage: RunUsage) -> Json:
    """Return the cost of each round and of the run: image passes, seconds, and what came to nothing.

    Args:
        run: The run.
        usage: The time that the run has taken.
    """
    rows = [_cost_row(view, usage.rounds.get(view.path)) for view in run.rounds if view.manifests]
    timed = [row for row in rows if row["seconds"] is not None]
    return {
        "rows": rows,
        "usage": usage,
        "seconds": sum(row["seconds"] for row in timed) if timed else None,
        "training": sum(row["training"] for row in timed) if timed else None,
        "between": usage.seconds - usage.active_seconds,
    }


def format_number(value: object) -> str:
    """Return a number with three digits, or ``none``."""
    return f"{value:.3g}" if isinstance(value, int | float) else "none"


def _cost_row(view: RoundView, time: RoundTime | None) -> Json:
    manifests = view.manifests
    lineage = ancestors(manifests, winner(manifests))
    members = [record for manifest in manifests for record in manifest.members]
    return {
        "path": view.path,
        "members": len(manifests[0].members),
        "models": len(manifests[0].members) * max([1, *(len(record.replica_scores) for record in members)]),
        "passes": view.image_passes,
        "winning": sum(manifests[step.generation].members[step.member].image_passes for step in lineage),
        "failed": sum(record.image_passes for record in members if record.score is None),
        "replaced": _replaced_passes(manifests),
        "seconds": None if time is None else time.seconds,
        "training": None if time is None else time.training,
    }


def _replaced_passes(manifests: Sequence[Manifest]) -> int:
    """Return the image passes of members that were replaced: their weights went no further."""
    return sum(
        manifest.members[assignment.member].image_passes
        for manifest in manifests[:-1]
        for assignment in manifest.next
        if assignment.operation != "continue" and assignment.member < len(manifest.members)
    )


def _round_row(view: RoundView, depth: int) -> Json:
    cut, labelled = view.events.get("cut", {}), view.events.get("labelled", {})
    best = winner(view.manifests)
    finished = view.events.get("finished")
    reason = str(finished.get("reason", "")) if finished else ""
    return {
        "path": view.path,
        "depth": depth,
        "num_images": view.logged("started", "num_images"),
        "label": _score_label(view),
        "score": None if best is None else _score(view, best),
        "generations": len(view.manifests),
        "reason": _REASONS.get(reason, reason.replace("_", " ")) if finished else "not finished",
        "frozen": sorted(f"f{name}" for name in cut.get("frozen", {})),
        "learned": [f"f{latent}" for latent in labelled.get("latents", [])],
    }


def _summary(view: RoundView, best: LineageStep | None) -> str:
    if best is None:
        return "No member has a score."
    sentence = (
        f"Best {_score_label(view)} {_score(view, best)}: member {best.member} in generation {best.generation + 1}."
    )
    if _interval(view, best) is not None:
        return f"{sentence} The interval is where 95 of 100 such members would be with other random seeds."
    replicas = len(view.manifests[best.generation].members[best.member].replica_scores)
    return f"{sentence} With {replicas} model{'s' if replicas > 1 else ''} a member there is no interval over models."


def _score(view: RoundView, best: LineageStep) -> str:
    score = view.manifests[best.generation].members[best.member].score
    return "none" if score is None else score_text(score, _interval(view, best))


def _interval(view: RoundView, best: LineageStep) -> Interval | None:
    manifest = view.manifests[best.generation]
    return member_interval(manifest, manifest.members[best.member], view.fitness)


def _median_sentence(manifests: Sequence[Manifest]) -> str:
    scores = [record.score for record in manifests[-1].members if record.score is not None]
    return f"Median of the last generation {statistics.median(scores):.3f}." if scores else ""


def _schedule_sentence(manifests: Sequence[Manifest], lineage: Sequence[LineageStep], name: str) -> str:
    hyperparameters = [manifests[step.generation].members[step.member].hyperparameters for step in lineage]
    values = [member[name] for member in hyperparameters if name in member]
    if not values:
        return ""
    return f"The winner's line began at {format_number(values[0])} and ended at {format_number(values[-1])}."


def _score_label(view: RoundView) -> str:
    return view.fitness.title
