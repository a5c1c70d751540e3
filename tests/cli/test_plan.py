"""What a plan counts on: the workers that the run itself would have on this machine."""

from __future__ import annotations

import pytest

from pbt_disent.cli.plan import _workers
from pbt_disent.config import ResourcesConfig
from pbt_disent.tune import resources as allocation


@pytest.mark.parametrize(
    ("gpus", "resources", "expected"),
    [
        (0, ResourcesConfig(), 16),
        (0, ResourcesConfig(cpus=3), 3),
        (2, ResourcesConfig(), 8),
        (2, ResourcesConfig(gpu_per_worker=1.0), 2),
        (2, ResourcesConfig(gpus=0), 16),
        (0, ResourcesConfig(address="127.0.0.1:6379", gpus=8, cpus=5), 5),
    ],
)
def test_the_workers_of_the_run(
    monkeypatch: pytest.MonkeyPatch, gpus: int, resources: ResourcesConfig, expected: int
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(allocation, "usable_cpus", lambda: 16)
    monkeypatch.setattr("pbt_disent.machine._installed_gpus", lambda: gpus)
    assert _workers(resources) == expected
