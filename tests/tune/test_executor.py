"""How the members of a generation are spread over the trials."""

from __future__ import annotations

import pickle

from pbt_disent.tune.executor import split_into_cohorts
from tests.tune.fakes import train_tasks


def test_members_are_spread_evenly_and_stay_together() -> None:
    tasks = train_tasks(3, members=11, replicas=2)
    cohorts = split_into_cohorts(9, tasks, 4)
    assert [cohort.id for cohort in cohorts] == [(9, 0), (9, 1), (9, 2), (9, 3)]
    contents = [[pickle.loads(item.payload) for item in cohort.items] for cohort in cohorts]
    assert [sorted({task.key.member for task in tasks_of_cohort}) for tasks_of_cohort in contents] == [
        [0, 4, 8],
        [1, 5, 9],
        [2, 6, 10],
        [3, 7],
    ]
    assert (
        sorted((task for tasks_of_cohort in contents for task in tasks_of_cohort), key=lambda task: task.key) == tasks
    )
    assert {item.weight for cohort in cohorts for item in cohort.items} == {10.0}
    assert [item.key for item in cohorts[0].items][:2] == ["0:g3:m0:r0", "0:g3:m0:r1"]


def test_no_cohort_is_empty() -> None:
    assert [len(cohort.items) for cohort in split_into_cohorts(0, train_tasks(0, members=3), 8)] == [1, 1, 1]
