"""The table of a round's population in MLflow."""

from __future__ import annotations

import csv
import io

from pbt_disent.tracking.round_page import population_table
from tests.simulated import simulate


def test_a_mixed_population_has_a_column_for_what_any_objective_has() -> None:
    manifests = []
    for manifest in simulate("0", members=3, generations=2):
        last = manifest.members[-1].model_copy(update={"hyperparameters": {"gamma": 3.0, "lr": 0.5}})
        manifests.append(manifest.model_copy(update={"members": (*manifest.members[:-1], last)}))
    rows = list(csv.DictReader(io.StringIO(population_table(manifests))))
    assert len(rows) == 2 * 3
    assert [row["gamma"] for row in rows] == ["", "", "3.0"] * 2
    assert rows[2]["lr"] == "0.5"
    own = manifests[0].members[0].hyperparameters
    assert {name: float(rows[0][name]) for name in own} == dict(own)
    assert "gamma" not in own
