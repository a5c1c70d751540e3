"""Real drivers, with Ray, killed with SIGKILL at random moments: three in CI, twenty in `make faults`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from pbt_disent import api
from pbt_disent.config import load_config
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from tests.population.fakes import Watch, manifests
from tests.test_pipeline import TINY

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENCE = 120.0
"""Seconds that processes may take to end on a busy machine."""
KILLS = 20 if os.environ.get("PBT_DISENT_FAULTS") else 3
FILES = ("lineage.jsonl", "rounds.jsonl", "labels/labels.parquet", "model/model.safetensors", "model/model.json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drivers")
    tiny = load_config(None, [*TINY, "tracking.enabled=false"])
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny.dump()))
    return folder


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> RunFolder:
    """The same run in this process, never stopped, without Ray."""
    folder = create_run(load_config(place / "tiny.yaml"), "tiny", place / "reference", None)
    api.execute(api.prepare(folder), Watch(), api.InProcess())
    return folder


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pbt_disent", *arguments, "--runs", "runs"]
    return subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_driver_is_resumed_to_the_same_bytes(place: Path, undisturbed: RunFolder, seed: int) -> None:
    """The moment: after a random number of committed generations, and then some random part of a second."""
    chance = random.Random(seed)
    wanted, delay = chance.randrange(len(manifests(undisturbed.path))), chance.uniform(0, 1.0)
    name = f"killed-{seed}"
    with start(place, "run", "tiny.yaml", "--name", name) as driver:
        try:
            wait_for_manifests(place / "runs" / name, wanted, driver)
            time.sleep(delay)
            family = psutil.Process(driver.pid).children(recursive=True)
            driver.kill()
            driver.communicate(timeout=PATIENCE)  # ends when all that it started has let go of its output
        finally:
            driver.kill()
    assert driver.returncode in {-signal.SIGKILL, 0}  # 0: it was faster than the delay
    assert not psutil.pid_exists(driver.pid)
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]
    with start(place, "resume", name) as resumed:
        output = resumed.communicate(timeout=600)[0]
    assert resumed.returncode == 0, output
    assert "Traceback" not in output
    run = place / "runs" / name
    assert manifests(run) == manifests(undisturbed.path)
    for file in FILES:
        assert (run / file).read_bytes() == (undisturbed.path / file).read_bytes(), file


def wait_for_manifests(run: Path, count: int, driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while len(manifests(run)) < count or not (run / "lease.json").exists():
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline, "the driver came to nothing"
        time.sleep(0.02)
