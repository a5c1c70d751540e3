from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pbt_disent.errors import UserError
from pbt_disent.report.run_reader import parent_path, read_run
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
    assert run.rounds[1].fact_of("cut", "num_images") == 12
    assert run.image_passes == 6 * 4 * 2000 + 4 * 1 * 2000 + 4 * 3 * 1000
