"""The barrier and the watch over the slots."""

from __future__ import annotations

import pickle
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from pbt_disent.errors import PbtDisentError
from pbt_disent.tune import scheduler
from pbt_disent.tune.scheduler import Barrier, GenerationScheduler, SlotWatch


def trial(slot: int) -> Any:
    return SimpleNamespace(config={"slot": slot})


def test_a_barrier_opens_with_the_last_report_of_its_own_tick() -> None:
    barrier = Barrier()
    generations = GenerationScheduler(barrier)
    barrier.open(7, 3)
    barrier.open(9, 2)
    for tick, part in [(7, 0), (7, 0), (6, 1), (7, 2), (8, 1), (9, 0)]:
        answer = generations.on_trial_result(None, trial(0), {"tick": tick, "part": part})
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
    watch = SlotWatch(1, lambda: None, lambda slot: None)
    assert vars(pickle.loads(pickle.dumps(GenerationScheduler(Barrier())))) == {}
    assert vars(pickle.loads(pickle.dumps(watch))) == {}
    assert not GenerationScheduler(Barrier()).supports_buffered_results


def test_the_pool_may_grow_when_the_last_slot_is_placed() -> None:
    events: list[str] = []
    watch = SlotWatch(2, lambda: events.append("placed"), lambda slot: events.append(f"lost {slot}"))
    watch.on_trial_start(0, [], trial(1))
    assert events == []
    watch.on_trial_start(0, [], trial(0))
    watch.on_trial_start(0, [], trial(0))
    assert events == ["placed"]
    watch.on_trial_error(0, [], trial(1))
    watch.on_step_end(0, [])
    assert events == ["placed", "lost 1"]
    watch.on_trial_error(0, [], trial(0))
    with pytest.raises(PbtDisentError, match="every slot is lost"):
        watch.on_step_end(0, [])


def test_a_slot_that_is_not_placed_in_time_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = SlotWatch(3, lambda: None, lambda slot: None)
    watch.on_step_end(0, [])
    watch.on_trial_start(0, [], trial(1))
    monkeypatch.setattr(scheduler, "PLACED_SECONDS", 0.0)
    time.sleep(0.001)
    with pytest.raises(PbtDisentError, match="slots 0, 2 found no place"):
        watch.on_step_end(0, [])
    assert watch.hopeless
    assert watch.error is not None


def test_abandoned_tune_ends_at_its_next_step() -> None:
    watch = SlotWatch(1, lambda: None, lambda slot: None)
    watch.on_step_end(0, [])
    watch.abandon()
    with pytest.raises(PbtDisentError, match="told to end"):
        watch.on_step_end(0, [])
    assert not watch.hopeless
