"""How busy the driver's machine is: MLflow's own monitors, read in a thread, averaged over each generation.

The names of these metrics begin with ``system/``, which MLflow shows on a page of its own. They are sampled every ten
seconds, or every ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`` seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from pbt_disent.tracking.tracking_store import set_mlflow_defaults

__all__ = ["INTERVAL", "SystemMetrics"]

INTERVAL = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
"""The environment variable that says how often to sample, in seconds."""
_DEFAULT_SECONDS = 10.0
_LOG = logging.getLogger(__name__)


class SystemMetrics:
    """Samples CPU, memory, disk, network and GPUs of this machine until it is stopped."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._sums: dict[str, float] = {}
        self._num_samples = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="system-metrics", daemon=True)
        self._thread.start()

    def pop_means(self) -> dict[str, float]:
        """Return the means since the last call, by MLflow's names; empty where nothing was sampled."""
        with self._mutex:
            means = {f"system/{name}": total / self._num_samples for name, total in self._sums.items()}
            self._sums, self._num_samples = {}, 0
        return means

    def stop(self) -> None:
        """Take no more samples."""
        self._stopped.set()

    def _sample_until_stopped(self) -> None:
        try:
            monitors = _monitors()
            while not self._stopped.wait(_interval_seconds()):
                self._sample(monitors)
        except Exception as error:  # nothing that a monitor raises may reach the run
            _LOG.warning("the load of this machine is not recorded: %s", error)

    def _sample(self, monitors: list[Any]) -> None:
        sample: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            sample |= {name: float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        with self._mutex:
            self._num_samples += 1
            for name, value in sample.items():
                self._sums[name] = self._sums.get(name, 0.0) + value


def _interval_seconds() -> float:
    try:
        return max(float(os.environ.get(INTERVAL, _DEFAULT_SECONDS)), 0.1)
    except ValueError:
        return _DEFAULT_SECONDS


def _monitors() -> list[Any]:
    """Return MLflow's monitors, with that of GPUs where there are any."""
    set_mlflow_defaults(os.environ)
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = []
    for monitor_class in (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor):
        create: Callable[[], Any] = monitor_class
        with contextlib.suppress(ImportError, RuntimeError):  # no GPU, or no binding to its driver
            monitors.append(create())
    return monitors
