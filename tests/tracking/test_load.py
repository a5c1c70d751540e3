"""The load of the machine: means since they were last taken, and nothing that a monitor does reaches the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from pbt_disent.tracking import load
from pbt_disent.tracking.load import INTERVAL, SystemLoad


class Rising:
    """Sees one more at every look, over a few readings as MLflow's monitors do."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.looks = 0

    def collect_metrics(self) -> None:
        self.looks += 1
        self.seen.append(float(self.looks))

    def aggregate_metrics(self) -> dict[str, float]:
        return {"rising": sum(self.seen) / len(self.seen)}

    def clear_metrics(self) -> None:
        self.seen.clear()


class Broken(Rising):
    def collect_metrics(self) -> None:
        raise OSError("no such device")


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INTERVAL, "0.1")


def test_means_are_of_what_was_seen_since_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = Rising()
    monkeypatch.setattr(load, "_monitors", lambda: [monitor])
    sampled = SystemLoad()
    try:
        wait_until(lambda: monitor.looks >= 3)
        first = sampled.take()["system/rising"]
        assert 1 < first < monitor.looks
        wait_until(lambda: monitor.looks >= 8)
        assert sampled.take()["system/rising"] > first + 1
    finally:
        sampled.stop()
    sampled._thread.join(10)
    sampled.take()
    assert sampled.take() == {}


def test_a_monitor_that_fails_ends_the_samples_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(load, "_monitors", lambda: [Broken()])
    with caplog.at_level(logging.WARNING, logger=load.__name__):
        sampled = SystemLoad()
        sampled._thread.join(10)
    assert not sampled._thread.is_alive()
    assert sampled.take() == {}
    assert "the load of this machine is not recorded: no such device" in caplog.text


def test_this_machine_has_a_load() -> None:
    sampled = SystemLoad()
    means: dict[str, float] = {}
    try:
        wait_until(lambda: means.update(sampled.take()) is None and "system/cpu_utilization_percentage" in means)
    finally:
        sampled.stop()
    assert 0 <= means["system/cpu_utilization_percentage"] <= 100
    assert means["system/system_memory_usage_megabytes"] > 0


@pytest.mark.parametrize(("given", "seconds"), [("0.001", 0.1), ("7", 7), ("often", 10)])
def test_how_often_it_looks(monkeypatch: pytest.MonkeyPatch, given: str, seconds: float) -> None:
    monkeypatch.setenv(INTERVAL, given)
    assert load._interval() == seconds
