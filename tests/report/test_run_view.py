from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pbt_disent.errors import UserError
from pbt_disent.population.manifest import Manifest, MemberRecord
from pbt_disent.report.run_view import LineageStep, ancestors, parent_path, read_run, replacements, winner
from pbt_disent.store.run_folder import RunFolder


@pytest.mark.parametrize(
    ("path", "parent"),
    [
        ("0", None),
        ("final", None),
        ("0/leaf1/1", "0"),
        ("0/leaf1/2", "0/leaf1/1"),
        ("0/leaf12/10", "0/leaf12/9"),
    ],
)
def test_rounds_know_what_they_were_cut_from(path: str, parent: str | None) -> None:
    assert parent_path(path) == parent


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must be a run folder"):
        read_run(tmp_path)


def test_a_run_that_is_being_written(fresh_run: RunFolder, commit: Callable[..., object]) -> None:
    commit(fresh_run.path, "0", reason=None, members=3, generations=2)
    with (fresh_run.path / "rounds.jsonl").open("a") as file:
        file.write('{"event": "finished", "path": "0", "rea')
    run = read_run(fresh_run.path)
    assert [view.path for view in run.rounds] == ["0"]
    assert len(run.rounds[0].manifests) == 2
    assert "finished" not in run.rounds[0].events
    assert run.scores is None


def test_rounds_in_their_order_and_the_ends_of_leaf_runs_apart(finished_run: RunFolder) -> None:
    run = read_run(finished_run.path)
    assert [view.path for view in run.rounds] == ["0", "0/leaf1/1", "final"]
    assert list(run.leaves) == ["0/leaf1"]
    assert run.rounds[1].logged("cut", "num_images") == 12
    assert run.image_passes == 6 * 4 * 2000 + 4 * 1 * 2000 + 4 * 3 * 1000


def generation(number: int, *members: tuple[float | None, str, int | None]) -> Manifest:
    records = tuple(
        MemberRecord(
            member=index,
            operation=operation,
            parent=parent,
            hyperparameters={"lr": 1.0},
            status="ok" if score is not None else "nan",
            score=score,
            replica_scores=(),
            checkpoints=(),
            codes=(),
            information=(),
            losses=(),
            image_passes=1,
            error=None,
            objective="betatcvae",
        )
        for index, (score, operation, parent) in enumerate(members)
    )
    return Manifest(round="0", identity="f", generation=number, members=records, next=(), image_passes=1)


HISTORY = [
    generation(0, (0.1, "start", None), (0.2, "start", None), (None, "start", None)),
    generation(1, (0.3, "exploit", 1), (0.2, "continue", 1), (0.1, "exploit", 0)),
    generation(2, (0.2, "continue", 0), (None, "restart", None), (0.5, "exploit", 0)),
    generation(3, (0.5, "exploit", 2), (0.1, "continue", 1), (0.4, "continue", 2)),
]


def test_the_winner_is_the_best_of_all_generations_and_the_earliest_among_equals() -> None:
    assert winner(HISTORY) == LineageStep(2, 2)
    assert winner(HISTORY[:1]) == LineageStep(0, 1)
    assert winner([generation(0, (None, "start", None))]) is None
    assert winner([]) is None


def test_ancestors_go_through_every_replacement() -> None:
    assert ancestors(HISTORY, LineageStep(2, 2)) == [LineageStep(0, 1), LineageStep(1, 0), LineageStep(2, 2)]
    assert ancestors(HISTORY, LineageStep(3, 1)) == [LineageStep(2, 1), LineageStep(3, 1)], (
        "a fresh start has no ancestors"
    )
    assert ancestors(HISTORY, None) == []


def test_replacements_are_those_that_did_not_go_on() -> None:
    replaced = [(generation, record.member, record.parent) for generation, record in replacements(HISTORY)]
    assert replaced == [(1, 0, 1), (1, 2, 0), (2, 1, None), (2, 2, 0), (3, 0, 2)]
