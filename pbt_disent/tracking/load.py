"""How busy the machine of the driver is: MLflow's own monitors, read in a thread, averaged over each generation.

Their names begin with ``system/``, which MLflow shows on a page of its own. Sampled every ten seconds, or every
``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from pbt_disent.tracking.environment import apply_defaults

__all__ = ["INTERVAL", "SystemLoad"]

INTERVAL = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
_SECONDS = 10.0
_LOG = logging.getLogger(__name__)


class SystemLoad:
    """Samples CPU, memory, disk, network and GPUs of this machine until it is stopped."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._sums: dict[str, float] = {}
        self._samples = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system-load", daemon=True)
        self._thread.start()

    def take(self) -> dict[str, float]:
        """Return the means since the last call, by MLflow's names; empty where nothing was sampled."""
        with self._mutex:
            means = {f"system/{name}": total / self._samples for name, total in self._sums.items()}
            self._sums, self._samples = {}, 0
        return means

    def stop(self) -> None:
        """Take no more samples."""
        self._ended.set()

    def _work(self) -> None:
        try:
            monitors = _monitors()
            while not self._ended.wait(_interval()):
                self._sample(monitors)
        except Exception as error:  # nothing that a monitor raises may reach the run
            _LOG.warning("the load of this machine is not recorded: %s", error)

    def _sample(self, monitors: list[Any]) -> None:
        seen: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            seen |= {name: float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        with self._mutex:
            self._samples += 1
            for name, value in seen.items():
                self._sums[name] = self._sums.get(name, 0.0) + value


def _interval() -> float:
    try:
        return max(float(os.environ.get(INTERVAL, _SECONDS)), 0.1)
    except ValueError:
        return _SECONDS


def _monitors() -> list[Any]:
    """Return MLflow's monitors, with that of GPUs where there are any."""
    apply_defaults(os.environ)
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = []
    for kind in (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor):
        make: Callable[[], Any] = kind
        with contextlib.suppress(ImportError, RuntimeError):  # no GPU, or no binding to its driver
            monitors.append(make())
    return monitors
