"""What this process may use of the machine."""

from __future__ import annotations

import pytest

from pbt_disent.machine import visible_gpus


@pytest.mark.parametrize(
    ("chosen", "count"),
    [(None, 2), ("", 0), ("-1", 0), ("0", 1), ("1,0", 2), ("0,-1,1", 1), ("0,7", 1), ("GPU-ab, MIG-cd", 2), (" 1 ", 1)],
)
def test_cuda_visible_devices_is_obeyed(monkeypatch: pytest.MonkeyPatch, chosen: str | None, count: int) -> None:
    monkeypatch.setattr("pbt_disent.machine._present_gpus", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == count
