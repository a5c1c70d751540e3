"""How the members of a generation are spread over the slots."""

from __future__ import annotations

import pickle

from pbt_disent.tune.executor import share_out
from tests.tune.fakes import train_tasks


def test_members_are_spread_evenly_and_stay_together() -> None:
    tasks = train_tasks(3, members=11, replicas=2)
    parts = share_out(9, tasks, 4)
    assert [(part.tick, part.part) for part in parts] == [(9, 0), (9, 1), (9, 2), (9, 3)]
    played = [[pickle.loads(job.payload) for job in part.jobs] for part in parts]
    assert [sorted({task.key.member for task in cohort}) for cohort in played] == [
        [0, 4, 8],
        [1, 5, 9],
        [2, 6, 10],
        [3, 7],
    ]
    assert sorted((task for cohort in played for task in cohort), key=lambda task: task.key) == tasks
    assert {job.weight for part in parts for job in part.jobs} == {10.0}
    assert [job.key for job in parts[0].jobs][:2] == ["0:g3:m0:r0", "0:g3:m0:r1"]


def test_no_part_is_empty() -> None:
    assert [len(part.jobs) for part in share_out(0, train_tasks(0, members=3), 8)] == [1, 1, 1]
