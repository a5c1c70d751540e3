"""The load of the machine: means since they were last taken, and nothing that a monitor does reaches the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from pbt_disent.tracking import system_metrics
from pbt_disent.tracking.system_metrics import INTERVAL, SystemMetrics


class Rising:
    """Sees one more at every look, over a few readings as MLflow's monitors do."""

    def __init__(self) -> None:
        self.readings: list[float] = []
        self.num_readings = 0

    def collect_metrics(self) -> None:
        self.num_readings += 1
        self.readings.append(float(self.num_readings))

    def aggregate_metrics(self) -> dict[str, float]:
        return {"rising": sum(self.readings) / len(self.readings)}

    def clear_metrics(self) -> None:
        self.readings.clear()


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
    monkeypatch.setattr(system_metrics, "_monitors", lambda: [monitor])
    sampled = SystemMetrics()
    try:
        wait_until(lambda: monitor.num_readings >= 3)
        first = sampled.pop_means()["system/rising"]
        assert 1 < first < monitor.num_readings
        wait_until(lambda: monitor.num_readings >= 8)
        assert sampled.pop_means()["system/rising"] > first + 1
    finally:
        sampled.stop()
    sampled._thread.join(10)
    sampled.pop_means()
    assert sampled.pop_means() == {}


def test_a_monitor_that_fails_ends_the_samples_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(system_metrics, "_monitors", lambda: [Broken()])
    with caplog.at_level(logging.WARNING, logger=system_metrics.__name__):
        sampled = SystemMetrics()
        sampled._thread.join(10)
    assert not sampled._thread.is_alive()
    assert sampled.pop_means() == {}
    assert "the load of this machine is not recorded: no such device" in caplog.text


def test_this_machine_has_a_load() -> None:
    sampled = SystemMetrics()
    means: dict[str, float] = {}
    try:
        wait_until(lambda: means.update(sampled.pop_means()) is None and "system/cpu_utilization_percentage" in means)
    finally:
        sampled.stop()
    assert 0 <= means["system/cpu_utilization_percentage"] <= 100
    assert means["system/system_memory_usage_megabytes"] > 0


@pytest.mark.parametrize(("interval", "seconds"), [("0.001", 0.1), ("7", 7), ("often", 10)])
def test_how_often_it_looks(monkeypatch: pytest.MonkeyPatch, interval: str, seconds: float) -> None:
    monkeypatch.setenv(INTERVAL, interval)
    assert system_metrics._interval_seconds() == seconds
