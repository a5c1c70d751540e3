"""What a round shows on its own page in MLflow: a note, and its whole population as one table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from pbt_disent.population.journal import read_manifests
from pbt_disent.population.manifest import Manifest, member_name, score_text
from pbt_disent.types import Json

__all__ = ["FIGURE_FILE", "DrawPopulation", "committed_manifests", "population_table", "round_note"]

DrawPopulation = Callable[[Sequence[Manifest], str], bytes]
"""Draws the generations of a round, ranked by the fitness of the given name, as a PNG."""

FIGURE_FILE = "population.png"
"""The name of a round's figure among its artifacts."""

_MAX_COMPARED = 100
"""The most runs that a link compares: a note has at most 8,000 characters, and each run takes 39 of them."""


def round_note(
    record: Json, experiment_id: str, run_id: str, member_run_ids: Sequence[str], *, has_figure: bool
) -> str:
    """Return a generation's record as markdown, with links to the pages of MLflow that show its population.

    Args:
        record: The record of the generation.
        experiment_id: The experiment of the round in MLflow.
        run_id: The run of the round in MLflow.
        member_run_ids: The runs of the round's members in MLflow.
        has_figure: Whether the round has a figure among its artifacts.

    Returns:
        The note.
    """
    metrics, path = record["metrics"], record["path"]
    state = "no member has a score"
    if record["best"] is not None:
        best, median = metrics["fitness/best"], metrics["fitness/median"]
        name = member_name(record["best"])
        state = (
            f"{record['fitness']} {score_text(best, record['interval'])} at best ({name}), {median:.3f} in the median"
        )
    compare = f", [parallel coordinates]({_comparison_url(experiment_id, member_run_ids)})"
    parts = [
        f"**Round {path}, generation {record['generation'] + 1}**: {state}; "
        f"{metrics['population/replaced']:.0f} of {len(record['members'])} members replaced next, "
        f"{metrics['population/failed']:.0f} failed; {metrics['population/image_passes']:,.0f} image passes so far.",
        f"Its members: [best first]({_members_url(experiment_id, path)}), "
        f"[charts]({_members_url(experiment_id, path, charts=True)})"
        + (compare if len(member_run_ids) <= _MAX_COMPARED else ""),
    ]
    if has_figure:
        parts.append(f"![the population](get-artifact?path={FIGURE_FILE}&run_uuid={run_id})")
    parts.append(
        "A member is a slot, and the step is the generation, counted from 0. `fitness/score` is what members are "
        "ranked by, `hp/...` are the hyperparameters in use, `lineage/parent` is the slot whose weights a member "
        "continued, the tag `origin` the one that they began in: search for `tags.round = '0' and "
        "tags.origin = 'm03'` and the like."
    )
    return "\n\n".join(parts)


def _members_url(experiment_id: str, path: str, *, charts: bool = False) -> str:
    """Return the address of a round's members on MLflow's page of runs."""
    query = {
        "workflowType": "machine_learning",
        "searchFilter": f"tags.kind = 'member' and tags.round = '{path}'",
        "orderByKey": "metrics.`fitness/score`",
        "orderByAsc": "false",
    }
    if charts:
        query["compareRunsMode"] = "CHART"
    return f"#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def _comparison_url(experiment_id: str, run_ids: Sequence[str]) -> str:
    """Return the address of MLflow's page that compares runs."""
    query = {"runs": json.dumps(list(run_ids)), "experiments": json.dumps([experiment_id])}
    return f"#/compare-runs?{urlencode(query, quote_via=quote)}"


def committed_manifests(run_folder: Path, record: Json) -> list[Manifest]:
    """Return a round's generations up to that of a record, or none if the round was superseded since."""
    manifests = read_manifests(run_folder / "rounds" / record["path"])[: record["generation"] + 1]
    return manifests if manifests and manifests[0].identity == record["identity"] else []


def population_table(manifests: Sequence[Manifest]) -> str:
    """Return every generation and member of a round as CSV.

    Args:
        manifests: The generations of the round.

    Returns:
        One row for each member of each generation; hyperparameters that its objective does not have stay empty.
    """
    names = sorted({name for manifest in manifests for member in manifest.members for name in member.hyperparameters})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["generation", "member", "operation", "parent", "status", "score", *names])
    for manifest in manifests:
        for member in manifest.members:
            values = [member.hyperparameters.get(name, "") for name in names]
            parent = "" if member.parent is None else member.parent
            score = "" if member.score is None else member.score
            writer.writerow(
                [manifest.generation, member.member, member.operation, parent, member.status, score, *values]
            )
    return text.getvalue()
