"""A study's cells: each runs once, results survive an interruption, and a changed description runs again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pbt_disent.errors import UserError
from pbt_disent.store.lease import Lease
from pbt_disent.types import Json
from studies.study import STUDIES, Cell, finished, run_cells


def cells(power: int = 2) -> list[Cell]:
    return [Cell(arm, seed, {"power": power, "arm": arm}) for seed in (1, 2) for arm in ("a", "b")]


def raise_to_power(cell: Cell) -> Json:
    return {"value": cell.seed ** cell.description["power"]}


def fail_at_the_last(cell: Cell) -> Json:
    if (cell.arm, cell.seed) == ("b", 2):
        raise RuntimeError("the power went")
    return raise_to_power(cell)


def test_every_cell_runs_once(tmp_path: Path) -> None:
    log = tmp_path / "study.jsonl"
    completed: list[Cell] = []
    done = run_cells(raise_to_power, cells(), log, workers=2, on_done=lambda cell, result: completed.append(cell))
    assert [result["value"] for result in done.values()] == [1, 1, 4, 4]
    assert sorted((cell.arm, cell.seed) for cell in completed) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert run_cells(fail_at_the_last, cells(), log, workers=1) == done


def test_an_interrupted_study_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "study.jsonl"
    with pytest.raises(RuntimeError, match="the power went"):
        run_cells(fail_at_the_last, cells(), log, workers=1)
    with log.open("a") as file:
        file.write('{"arm": "b", "see')
    completed: list[Cell] = []
    done = run_cells(raise_to_power, cells(), log, workers=1, on_done=lambda cell, result: completed.append(cell))
    assert [(cell.arm, cell.seed) for cell in completed] == [("b", 2)]
    assert len(done) == 4
    assert len([json.loads(line) for line in log.read_text().splitlines()]) == 4


def test_a_changed_description_runs_again(tmp_path: Path) -> None:
    log = tmp_path / "study.jsonl"
    run_cells(raise_to_power, cells(), log, workers=1)
    assert finished(cells(power=3), log) == {}
    assert [result["value"] for result in run_cells(raise_to_power, cells(3), log, workers=1).values()] == [
        1,
        1,
        8,
        8,
    ]
    assert [result["value"] for result in finished(cells(), log).values()] == [1, 1, 4, 4]


def test_two_processes_do_not_run_one_study(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "study.lock")
    with pytest.raises(UserError, match="held by a live driver"):
        run_cells(raise_to_power, cells(), tmp_path / "study.jsonl", workers=1)
    lease.release()


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_result_on_record_counts(name: str) -> None:
    """Renaming a key of a description makes the results void: give them the digests of the new descriptions."""
    study = STUDIES[name]()
    log = Path(__file__).parents[2] / f"docs/studies/{name}.jsonl"
    assert len(finished(study.cells(study.arms, study.seeds), log)) == len(log.read_text().splitlines()) > 0
