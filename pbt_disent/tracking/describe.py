"""What a round shows on its own page in MLflow: a note, and its whole population as one table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pbt_disent.population.journal import read_manifests
from pbt_disent.tracking.records import member_name
from pbt_disent.types import Json

__all__ = ["note", "population_table"]


def note(record: Json) -> str:
    """Return a generation's record as markdown."""
    metrics = record["metrics"]
    state = "no member has a score"
    if record["best"] is not None:
        best, median = metrics["best_score"], metrics["median_score"]
        state = f"{record['fitness']} {best:.3f} at best ({member_name(record['best'])}), {median:.3f} in the median"
    return (
        f"**Round {record['path']}, generation {record['generation']}**: {state}; "
        f"{metrics['replaced']:.0f} of {len(record['members'])} members replaced next, {metrics['failed']:.0f} failed; "
        f"{metrics['images']:,.0f} image passes so far.\n\n"
        "The children are the member slots (open the + beside this run in the list) and the step is the generation. "
        "`hp/...` are the hyperparameters in use, `parent` is the slot whose weights a member continued, `origin` the "
        "one that they began in. Search for members with `tags.round = '0' and tags.origin = 'm03'` and the like."
    )


def population_table(run_folder: Path, record: Json) -> str:
    """Return every generation and member of a finished round as CSV; nothing if the round was superseded since."""
    manifests = read_manifests(run_folder / "rounds" / record["path"])[: record["generation"] + 1]
    if not manifests or manifests[0].identity != record["identity"]:
        return ""
    names = sorted(manifests[0].members[0].hyperparameters)
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
