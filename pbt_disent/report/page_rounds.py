"""What the page shows of the rounds: tree, populations, what they found, how models agreed, what it cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from markupsafe import Markup

from pbt_disent.metrics import Interval
from pbt_disent.population.clock import Spent
from pbt_disent.population.manifest import Manifest
from pbt_disent.population.uncertainty import member_interval, score_text
from pbt_disent.report import figures
from pbt_disent.report.agreement import Agreement
from pbt_disent.report.found import FoundLatent
from pbt_disent.report.lineage import Step, ancestors, replacements, winner
from pbt_disent.report.run_reader import RoundView, RunView, parent_path
from pbt_disent.report.svg import inline_svg
from pbt_disent.types import Json

__all__ = ["agreement_parts", "cost_parts", "found_parts", "number", "population_parts", "tree_parts"]

_REASONS = {
    "converged": "the best score stopped moving",
    "max_generations": "the last generation was reached",
    "nothing_learned": "nothing was learned",
}


def tree_parts(run: RunView) -> list[Json]:
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


def population_parts(run: RunView, view: RoundView, index: int) -> Json:
    """Return the figures and tables of one round."""
    manifests, label = view.manifests, _label(view)
    best = winner(manifests)
    way = ancestors(manifests, best)
    names = figures.searched(manifests)
    charts = [(f"{label} by generation", figures.score_figure(manifests, label), _median(manifests))]
    charts += [
        (f"{name} by generation", figures.hyperparameter_figure(manifests, name), _course(manifests, way, name))
        for name in names
    ]
    replaced = replacements(manifests)
    times = "1 replacement." if len(replaced) == 1 else f"{len(replaced)} replacements."
    charts.append(("Who replaced whom", figures.lineage_figure(manifests), times))
    return {
        "path": view.path,
        "id": f"round-{index}",
        "summary": _in_words(view, best),
        "charts": [
            {"title": title, "svg": Markup(inline_svg(figure, f"r{index}c{number}", f"{title}. {text}")), "text": text}
            for number, (title, figure, text) in enumerate(charts)
        ],
        "replacements": replaced,
        "names": names,
    }


def found_parts(found: Sequence[FoundLatent]) -> list[Json]:
    """Return the latents that the rounds learned, each with its segments."""
    return [
        {
            "name": one.name,
            "images": len(one.images),
            "segments": one.count,
            "svg": Markup(
                inline_svg(
                    figures.segments_figure(one.values, one.segments),
                    f"found{number}",
                    f"Values of {one.name}: {one.count or 'no'} segments of {len(one.images)} images",
                )
            ),
        }
        for number, one in enumerate(found)
    ]


def agreement_parts(path: str, seen: Agreement) -> Json:
    """Return the matrices behind a round's UDR: models against models, and latents against latents."""
    models = len(seen.pairwise)
    rows = [index for index, active in enumerate(seen.active[seen.chosen]) if active]
    return {
        "path": path,
        "member": seen.member,
        "generation": seen.generation + 1,
        "points": seen.points,
        "chosen": seen.chosen,
        "models": range(models),
        "pairwise": [[None if a == b else float(seen.pairwise[a, b]) for b in range(models)] for a in range(models)],
        "others": [
            {
                "model": other,
                "score": float(seen.pairwise[seen.chosen, other]),
                "columns": [index for index, active in enumerate(seen.active[other]) if active],
                "rows": [
                    (
                        row,
                        [
                            min(float(seen.strengths[other, row, column]), 1.0)
                            for column, active in enumerate(seen.active[other])
                            if active
                        ],
                    )
                    for row in rows
                ],
            }
            for other in range(models)
            if other != seen.chosen
        ],
    }


def cost_parts(run: RunView, spent: Spent) -> Json:
    """Return what each round and the run cost: passes, seconds, and what came to nothing."""
    rows = []
    seconds = training = 0.0
    timed = False
    for view in run.rounds:
        if not view.manifests:
            continue
        way = ancestors(view.manifests, winner(view.manifests))
        if (took := spent.rounds.get(view.path)) is not None:
            seconds, training, timed = seconds + took.seconds, training + took.training, True
        records = [record for manifest in view.manifests for record in manifest.members]
        rows.append(
            {
                "path": view.path,
                "members": len(view.manifests[0].members),
                "models": _models(view.manifests),
                "passes": view.image_passes,
                "winning": sum(view.manifests[step.generation].members[step.member].image_passes for step in way),
                "failed": sum(record.image_passes for record in records if record.score is None),
                "replaced": _replaced(view.manifests),
                "seconds": None if took is None else took.seconds,
                "training": None if took is None else took.training,
            }
        )
    return {
        "rows": rows,
        "spent": spent,
        "seconds": seconds if timed else None,
        "training": training if timed else None,
        "between": spent.seconds - spent.within,
    }


def number(value: object) -> str:
    """Return a number with three digits, or none."""
    return f"{value:.3g}" if isinstance(value, int | float) else "none"


def _replaced(manifests: Sequence[Manifest]) -> int:
    """Return the passes of members that something else took the place of: their weights went no further."""
    return sum(
        before.members[assignment.member].image_passes
        for before in manifests[:-1]
        for assignment in before.next
        if assignment.operation != "continue" and assignment.member < len(before.members)
    )


def _row(view: RoundView, depth: int) -> Json:
    cut, labelled = view.events.get("cut", {}), view.events.get("labelled", {})
    best = winner(view.manifests)
    finished = view.events.get("finished")
    reason = str(finished.get("reason", "")) if finished else ""
    return {
        "path": view.path,
        "depth": depth,
        "images": view.fact_of("started", "num_images"),
        "label": _label(view),
        "score": None if best is None else _score(view, best),
        "generations": len(view.manifests),
        "reason": _REASONS.get(reason, reason.replace("_", " ")) if finished else "not finished",
        "frozen": sorted(f"f{name}" for name in cut.get("frozen", {})),
        "learned": [f"f{latent}" for latent in labelled.get("latents", [])],
    }


def _in_words(view: RoundView, best: Step | None) -> str:
    if best is None:
        return "No member has a score."
    said = f"Best {_label(view)} {_score(view, best)}: member {best.member} in generation {best.generation + 1}."
    if _interval(view, best) is not None:
        return f"{said} The interval is where 95 of 100 such members would be with other random seeds."
    replicas = len(view.manifests[best.generation].members[best.member].replica_scores)
    return f"{said} With {replicas} model{'s' if replicas > 1 else ''} a member there is no interval over models."


def _score(view: RoundView, best: Step) -> str:
    score = view.manifests[best.generation].members[best.member].score
    return "none" if score is None else score_text(score, _interval(view, best))


def _interval(view: RoundView, best: Step) -> Interval | None:
    manifest = view.manifests[best.generation]
    return member_interval(manifest, manifest.members[best.member], view.fitness)


def _median(manifests: Sequence[Manifest]) -> str:
    scores = [record.score for record in manifests[-1].members if record.score is not None]
    return f"Median of the last generation {statistics.median(scores):.3f}." if scores else ""


def _course(manifests: Sequence[Manifest], way: Sequence[Step], name: str) -> str:
    on_the_way = [manifests[step.generation].members[step.member].hyperparameters for step in way]
    values = [one[name] for one in on_the_way if name in one]
    return f"The winner's line began at {number(values[0])} and ended at {number(values[-1])}." if values else ""


def _models(manifests: Sequence[Manifest]) -> int:
    replicas = max((len(r.replica_scores) for m in manifests for r in m.members), default=1)
    return len(manifests[0].members) * max(replicas, 1)


def _label(view: RoundView) -> str:
    return view.fitness.title
