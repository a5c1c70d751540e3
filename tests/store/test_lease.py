"""One driver per run, in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pbt_disent.errors import UserError
from pbt_disent.store.lease import Lease, LeaseLost


def test_a_lease_refuses_a_second_driver_and_stops_a_late_one(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    first = Lease(path)
    with pytest.raises(UserError, match=f"held by a live driver \\(pid {os.getpid()}"):
        Lease(path)
    first.check()
    holder = json.loads(path.read_bytes())
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    path.write_text(json.dumps({**holder, "pid": int(gone.stdout)}))
    second = Lease(path)
    assert second.epoch == first.epoch + 1
    with pytest.raises(LeaseLost):
        first.check()
    first.release()
    second.check()
    second.release()
    third = Lease(path)
    assert third.epoch == second.epoch + 1
    third.release()


def test_a_reused_pid_does_not_hold_a_lease(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    lease = Lease(path)
    holder = json.loads(path.read_bytes())
    lease.release()
    path.write_text(json.dumps({**holder, "started": holder["started"] - 100}))
    Lease(path).release()


def test_a_foreign_host_holds_a_lease_while_its_heart_beats(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    lease = Lease(path)
    holder = json.loads(path.read_bytes())
    lease.release()
    path.write_text(json.dumps({**holder, "machine": "another", "host": "elsewhere"}))
    with pytest.raises(UserError, match="on elsewhere"):
        Lease(path)
    then = path.stat().st_mtime - 61
    os.utime(path, (then, then))
    Lease(path).release()
