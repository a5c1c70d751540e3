"""The barrier, and the monitor of the trials."""

from __future__ import annotations

import pickle
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from pbt_disent.errors import PbtDisentError
from pbt_disent.tune import trials
from pbt_disent.tune.trials import Barrier, GenerationScheduler, TrialMonitor


def trial(number: int) -> Any:
    return SimpleNamespace(config={"trial": number})


def test_a_barrier_opens_with_the_last_report_of_its_own_generation() -> None:
    barrier = Barrier()
    generations = GenerationScheduler(barrier)
    barrier.open(7, 3)
    barrier.open(9, 2)
    for generation, cohort in [(7, 0), (7, 0), (6, 1), (7, 2), (8, 1), (9, 0)]:
        answer = generations.on_trial_result(None, trial(0), {"generation": generation, "cohort": cohort})
        assert answer == TrialScheduler.CONTINUE
    assert barrier.wait(7, 0.01) == {1}
    assert barrier.wait(9, 0.0) == {1}
    assert barrier.wait(8, 0.0) == set()
    late = threading.Timer(0.02, barrier.arrive, (7, 1))
    late.start()
    left: list[set[int]] = []
    waiting = threading.Thread(target=lambda: left.append(set(barrier.wait(7, 30))))
    waiting.start()
    waiting.join(15)
    assert left == [set()], "the last report did not wake who waits for it"
    assert barrier.wait(9, 0.0) == {1}
    late.join()


def test_what_tune_pickles_holds_nothing_of_ours() -> None:
    monitor = TrialMonitor(1, lambda: None, lambda number: None)
    assert vars(pickle.loads(pickle.dumps(GenerationScheduler(Barrier())))) == {}
    assert vars(pickle.loads(pickle.dumps(monitor))) == {}
    assert not GenerationScheduler(Barrier()).supports_buffered_results


def test_the_pool_may_grow_when_the_last_trial_is_placed() -> None:
    events: list[str] = []
    monitor = TrialMonitor(2, lambda: events.append("placed"), lambda number: events.append(f"lost {number}"))
    monitor.on_trial_start(0, [], trial(1))
    assert events == []
    monitor.on_trial_start(0, [], trial(0))
    monitor.on_trial_start(0, [], trial(0))
    assert events == ["placed"]
    monitor.on_trial_error(0, [], trial(1))
    monitor.on_step_end(0, [])
    assert events == ["placed", "lost 1"]
    monitor.on_trial_error(0, [], trial(0))
    with pytest.raises(PbtDisentError, match="every trial is lost"):
        monitor.on_step_end(0, [])


def test_a_trial_that_is_not_placed_in_time_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = TrialMonitor(3, lambda: None, lambda number: None)
    monitor.on_step_end(0, [])
    monitor.on_trial_start(0, [], trial(1))
    monkeypatch.setattr(trials, "PLACEMENT_SECONDS", 0.0)
    time.sleep(0.001)
    with pytest.raises(PbtDisentError, match="trials 0, 2 found no place"):
        monitor.on_step_end(0, [])
    assert monitor.is_unplaceable
    assert monitor.error is not None


def test_tune_ends_when_told_to_at_its_next_step() -> None:
    monitor = TrialMonitor(1, lambda: None, lambda number: None)
    monitor.on_step_end(0, [])
    monitor.request_end()
    with pytest.raises(PbtDisentError, match="told to end"):
        monitor.on_step_end(0, [])
    assert not monitor.is_unplaceable
