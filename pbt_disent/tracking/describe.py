"""What a round shows on its own page in MLflow: a note, and its whole population as one table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from pbt_disent.population.journal import read_manifests
from pbt_disent.population.manifest import Manifest
from pbt_disent.tracking.records import member_name
from pbt_disent.types import Json

__all__ = ["PICTURE", "Picture", "committed", "note", "population_table"]

Picture = Callable[[Sequence[Manifest], str], bytes]
"""Draws the generations of a round, ranked by a fitness of that name, as a PNG."""

PICTURE = "population.png"
"""What a round's picture is called among its artifacts."""

_MOST_COMPARED = 100
"""A note has at most 8,000 characters, and each run takes 39."""


def note(record: Json, experiment: str, run_id: str, members: Sequence[str], *, pictured: bool) -> str:
    """Return a generation's record as markdown, with links to the pages of MLflow that show its population.

    Args:
        record: of the generation.
        experiment: of the round in MLflow.
        run_id: of the round in MLflow.
        members: runs of its members in MLflow.
        pictured: whether the round has a picture there.
    """
    metrics, path = record["metrics"], record["path"]
    state = "no member has a score"
    if record["best"] is not None:
        best, median = metrics["fitness/best"], metrics["fitness/median"]
        bar = record.get("interval")  # earlier records have none
        sure = f" [{bar[0]:.3f} to {bar[1]:.3f}]" if bar else ""
        who = member_name(record["best"])
        state = f"{record['fitness']} {best:.3f}{sure} at best ({who}), {median:.3f} in the median"
    parts = [
        f"**Round {path}, generation {record['generation'] + 1}**: {state}; "
        f"{metrics['population/replaced']:.0f} of {len(record['members'])} members replaced next, "
        f"{metrics['population/failed']:.0f} failed; {metrics['population/images']:,.0f} image passes so far.",
        f"Its members: [best first]({_listed(experiment, path)}), [charts]({_listed(experiment, path, charts=True)})"
        + (f", [parallel coordinates]({_compared(experiment, members)})" if len(members) <= _MOST_COMPARED else ""),
    ]
    if pictured:
        parts.append(f"![the population](get-artifact?path={PICTURE}&run_uuid={run_id})")
    parts.append(
        "A member is a slot, and the step is the generation, counted from 0. `fitness/score` is what members are "
        "ranked by, `hp/...` are the hyperparameters in use, `lineage/parent` is the slot whose weights a member "
        "continued, the tag `origin` the one that they began in: search for `tags.round = '0' and "
        "tags.origin = 'm03'` and the like."
    )
    return "\n\n".join(parts)


def _listed(experiment: str, path: str, *, charts: bool = False) -> str:
    """Return the address of a round's members on MLflow's page of runs."""
    given = {
        "workflowType": "machine_learning",
        "searchFilter": f"tags.kind = 'member' and tags.round = '{path}'",
        "orderByKey": "metrics.`fitness/score`",
        "orderByAsc": "false",
    }
    mode = {"compareRunsMode": "CHART"} if charts else {}
    return f"#/experiments/{experiment}/runs?{urlencode({**given, **mode}, quote_via=quote)}"


def _compared(experiment: str, runs: Sequence[str]) -> str:
    """Return the address of MLflow's page that compares runs."""
    given = {"runs": json.dumps(list(runs)), "experiments": json.dumps([experiment])}
    return f"#/compare-runs?{urlencode(given, quote_via=quote)}"


def committed(run_folder: Path, record: Json) -> list[Manifest]:
    """Return a round's generations up to that of a record; none if the round was superseded since."""
    manifests = read_manifests(run_folder / "rounds" / record["path"])[: record["generation"] + 1]
    return manifests if manifests and manifests[0].identity == record["identity"] else []


def population_table(manifests: Sequence[Manifest]) -> str:
    """Return every generation and member of a round as CSV; what an objective does not have stays empty."""
    names = sorted({name for manifest in manifests for row in manifest.members for name in row.hyperparameters})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["generation", "member", "operation", "parent", "status", "score", *names])
    for manifest in manifests:
        for row in manifest.members:
            values = [row.hyperparameters.get(name, "") for name in names]
            parent = "" if row.parent is None else row.parent
            score = "" if row.score is None else row.score
            writer.writerow([manifest.generation, row.member, row.operation, parent, row.status, score, *values])
    return text.getvalue()
