"""The study of the objectives: its arms are sound, a cell gives all figures, and the table says what they show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pbt_disent.models import OBJECTIVES
from pbt_disent.types import Json
from studies.cli import main
from studies.objectives import COLUMNS, AblationDesign, Claim, format_summary, format_table, run_cell
from studies.study import STUDIES, Cell

pytestmark = pytest.mark.slow

STUDY = STUDIES["objectives"]()
GRID = {"floor_hue": [0, 3], "wall_hue": [4, 7], "object_hue": [8], "scale": 3, "shape": 3, "orientation": 2}


def small(arm: str) -> Cell:
    """Return an arm's cell on 72 images, trained for three steps."""
    (cell,) = STUDY.cells([arm], [1])
    data = {"name": "rooms", "options": {"size": 32, "grid": GRID}}
    return replace(cell, description={**cell.description, "image_passes": 192, "data": data})


def test_every_objective_is_in_the_study() -> None:
    named = {cell.description["objective"]["name"] for cell in STUDY.cells(STUDY.arms, [1])}
    assert named == set(OBJECTIVES)


@pytest.mark.parametrize(("arm", "own"), [("vae", None), ("strkm", "unrotated_dci"), ("ssdgm-5", "accuracy")])
def test_a_cell_gives_every_figure(arm: str, own: str | None) -> None:
    result = run_cell(small(arm))
    assert {key for key, *_ in COLUMNS} | ({own} if own else set()) <= result.keys()
    assert 0 < result["error"] < 1
    assert result == run_cell(small(arm))
    if arm == "strkm":
        assert result["tc_sample"] is None
        assert result["not_orthonormal"] < 1e-6


def figures(mig: float, error: float = 0.001) -> Json:
    return {"mig": mig, "mig_sup": 0.5, "dci": 0.5, "error": error, "tc_mean": 0.1, "tc_sample": None, "information": 9}


def test_the_table_counts_the_seeds_that_show_a_claim() -> None:
    design = AblationDesign(
        revision=1,
        seeds=(1, 2, 3),
        image_passes=10,
        data={},
        shared={},
        arms={"new": {"objective": {}}, "old": {"objective": {}}},
        claims=(Claim(arm="new", against="old", figure="mig", text="more"),),
    )
    scores = {"new": (0.5, 0.2, 0.4), "old": (0.1, 0.3, 0.2)}
    results = {
        Cell(arm, seed, {}): figures(score, 0.002 if arm == "new" else 0.001)
        for arm, row in scores.items()
        for seed, score in enumerate(row, start=1)
    }
    lines = format_table(design, results).splitlines()
    assert (
        "| new | 3 | 0.40 (0.20) | 0.50 (0.50) | 0.50 (0.50) | 2.00 (2.00) | 0.100 (0.100) | none | 9.0 (9.0) |"
        in lines
    )
    assert lines[-1] == "| new | old | more | mig | 0.400 | 0.200 | 2 of 3 | 2.00 |"
    assert format_summary(design, results).splitlines()[-1] == (
        "| new<br>old | more MIG: 2 of 3 | 0.40 (0.20)<br>0.20 (0.10) | 0.50 (0.50)<br>0.50 (0.50) "
        "| 0.50 (0.50)<br>0.50 (0.50) | 2.00 (2.00)<br>1.00 (1.00) | 0.100 (0.100)<br>0.100 (0.100) | none<br>none |"
    )


def test_the_command_writes_the_table_where_it_belongs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- study:objectives -->\nold\n<!-- /study:objectives -->\nafter\n")
    arguments = ["objectives", "--table", "--folder", str(tmp_path), "--into", str(page)]
    assert main(arguments) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- study:objectives -->\n")
    assert text.endswith("<!-- /study:objectives -->\nafter\n")
    assert "old" not in text
    assert "| objective<br>ablation |" in text
    assert "| arm | seeds |" in (tmp_path / "objectives.md").read_text()
    page.write_text("no marks")
    assert main(arguments) == 2
    assert "must have the marks" in capsys.readouterr().err
    assert page.read_text() == "no marks"


@pytest.mark.parametrize(("option", "value", "said"), [("--arms", "vea", "vae"), ("--seeds", "99", "no seed")])
def test_unknown_arms_and_seeds(option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["objectives", option, value]) == 2
    assert said in capsys.readouterr().err
