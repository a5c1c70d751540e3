"""What this process may use of the machine."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from pbt_disent import machine
from pbt_disent.machine import usable_cpus, usable_memory, visible_gpus


@pytest.mark.parametrize(
    ("devices", "count"),
    [(None, 2), ("", 0), ("-1", 0), ("0", 1), ("1,0", 2), ("0,-1,1", 1), ("0,7", 1), ("GPU-ab, MIG-cd", 2), (" 1 ", 1)],
)
def test_cuda_visible_devices_is_obeyed(monkeypatch: pytest.MonkeyPatch, devices: str | None, count: int) -> None:
    monkeypatch.setattr("pbt_disent.machine._installed_gpus", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if devices is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    assert visible_gpus() == count


def test_the_cpus_of_the_affinity_mask_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= usable_cpus() <= len(psutil.Process().cpu_affinity() or [])
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert usable_cpus() == 1


@pytest.mark.parametrize(("limits", "expected"), [([], None), (["max"], None), (["4096"], 4096), (["", "4096"], 4096)])
def test_memory_is_cut_by_the_limit_of_the_control_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limits: list[str], expected: int | None
) -> None:
    paths = tuple(tmp_path / str(number) for number in range(2))
    for path, limit in zip(paths, limits, strict=False):
        if limit:
            path.write_text(f"{limit}\n")
    monkeypatch.setattr(machine, "MEMORY_LIMITS", paths)
    assert usable_memory() == (expected or psutil.virtual_memory().total)
