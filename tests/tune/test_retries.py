"""How often an item is tried again, and how long it may take."""

from __future__ import annotations

from typing import get_args

import pytest

from pbt_disent.tune.messages import FailureCause, WorkItem
from pbt_disent.tune.retries import MAX_ATTEMPTS, FailureCounter, TimeLimit


@pytest.mark.parametrize("cause", get_args(FailureCause))
def test_each_cause_allows_its_own_number_of_attempts(cause: FailureCause) -> None:
    failures = FailureCounter()
    retried = [failures.add(cause) for _ in range(20)]
    allowed = MAX_ATTEMPTS[cause]
    assert retried == [True] * 20 if allowed is None else [True] * (allowed - 1) + [False] * (21 - allowed)


def test_failures_are_printed_by_cause() -> None:
    failures = FailureCounter()
    for cause in ("node", "memory", "node"):
        failures.add(cause)  # type: ignore[arg-type]
    assert str(failures) == "2 x node, 1 x memory"


def test_the_time_limit_grows_in_proportion_to_the_work() -> None:
    limit = TimeLimit(initial_seconds=1000.0, min_seconds=1.0, slack=20.0)
    small, large = (WorkItem(key, "train", weight, b"") for key, weight in (("small", 10.0), ("large", 1000.0)))
    assert limit.seconds_for(large) == 1000.0
    limit.observe(small, 2.0)
    limit.observe(small, 1.0)
    assert limit.seconds_for(small) == pytest.approx(40.0)
    assert limit.seconds_for(large) == pytest.approx(4000.0)
    assert limit.seconds_for(WorkItem("x", "score", 1.0, b"")) == 1000.0
