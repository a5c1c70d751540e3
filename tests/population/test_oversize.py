"""A first generation that is larger than the others: the best members stay as they are, nobody is copied yet."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pbt_disent.population.engine import run_population
from pbt_disent.population.manifest import Manifest
from pbt_disent.population.rule import survivors
from pbt_disent.training.tasks import TrainOutcome, TrainTask
from tests.population.fakes import Crash, FakeExecutor, Watch, journal, manifests, spec


def run(folder: Path, *, bad: tuple[int, ...] = (), die_at: tuple[int, str] | None = None) -> list[Manifest]:
    def special(task: TrainTask) -> TrainOutcome | None:
        broken = task.key.generation == 0 and task.key.member in bad
        return TrainOutcome(task.key, "nan", image_passes=task.image_passes) if broken else None

    round_journal, blobs, lease = journal(folder)
    try:
        run_population(
            spec(size=4, generations=3, oversize=2), FakeExecutor(blobs, special), round_journal, Watch(die_at)
        )
    finally:
        lease.release()
    return [Manifest.from_bytes(content) for _, content in sorted(manifests(folder).items())]


def test_survivors() -> None:
    assert survivors([0.1, 0.4, None, 0.4, math.nan, 0.2], 3) == [1, 3, 5]
    assert survivors([None, 0.1, math.inf], 2) == [0, 1]
    assert survivors([0.3, 0.2], 2) == [0, 1]


def test_the_best_half_of_the_first_generation_stays(tmp_path: Path) -> None:
    first, second, third = run(tmp_path)
    assert [len(manifest.members) for manifest in (first, second, third)] == [8, 4, 4]
    scores = {record.member: record.score or 0.0 for record in first.members}
    best = sorted(sorted(scores, key=lambda member: -scores[member])[:4])
    assert [assignment.parent for assignment in first.next] == best
    for assignment in first.next:
        parent = first.members[assignment.parent or 0]
        assert (assignment.operation, assignment.origins) == ("continue", parent.checkpoints)
        assert assignment.hyperparameters == parent.hyperparameters
    assert any(assignment.operation == "exploit" for assignment in second.next)
    assert third.image_passes == (8 + 4 + 4) * 2 * 10


def test_members_that_failed_start_again_only_if_too_few_are_left(tmp_path: Path) -> None:
    first, *_ = run(tmp_path, bad=(0, 1, 2, 3, 4))
    assert [(assignment.operation, assignment.parent) for assignment in first.next] == [
        ("restart", None),
        ("continue", 5),
        ("continue", 6),
        ("continue", 7),
    ]


@pytest.mark.parametrize("phase", ["scored", "committed"])
def test_a_crash_while_it_is_thinned_out_changes_nothing(tmp_path: Path, phase: str) -> None:
    undisturbed = run(tmp_path / "undisturbed")
    with pytest.raises(Crash):
        run(tmp_path / "crashed", die_at=(0, phase))
    assert run(tmp_path / "crashed") == undisturbed
