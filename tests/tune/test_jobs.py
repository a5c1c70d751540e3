"""Submission as a user does it: a cluster with a token and a second node, and the verbs that speak to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pbt_disent import api
from pbt_disent.config import load_config
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from tests.faults.small_population import long
from tests.population.fakes import Watch, manifests
from tests.test_pipeline import TINY
from tests.tune.local_cluster import LocalCluster, local_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

ENDLESS = [
    *TINY,
    "method=pbt-u-vae",
    "population={size: 3, replicas: 2, max_generations: 400, converged_generations: 1000, give_up_below: 0}",
    "population.image_passes_per_generation=256",
    "population.exploit.cutoff=0.34",
    "tracking.enabled=false",
]
"""A run that does not end before it is stopped, however slow the machine is."""

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "small.yaml").write_text(yaml.safe_dump(load_config(None, ENDLESS).dump()))
    (folder / "carried").mkdir()
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with local_cluster() as cluster:
        cluster.head(1, dashboard=True)
        cluster.node(1)
        yield cluster


@pytest.fixture(scope="module")
def verb(cluster: LocalCluster, place: Path) -> Call:
    """Run a verb against the cluster, with its token from a file."""
    token = place / "token"
    token.write_text(str(cluster.token))
    environment = {name: value for name, value in cluster.environment.items() if name != "RAY_AUTH_TOKEN"}

    def call(*arguments: str, token_path: str | None = str(token)) -> subprocess.CompletedProcess[str]:
        access = {} if token_path is None else {"RAY_AUTH_TOKEN_PATH": token_path}
        return subprocess.run(
            [sys.executable, "-m", "pbt_disent", *arguments, "--address", cluster.url],
            cwd=place,
            env={**environment, **access, "HOME": str(place)},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    return call


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def status(verb: Call, name: str) -> dict[str, Any]:
    done = verb("status", name, "--json")
    record: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if record["status"] == "FAILED" else 0)
    return record


def wait_until(holds: Callable[[], Any], seconds: float = 600) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := holds()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.2)
    return result


def driver_of(cluster: LocalCluster, name: str) -> list[psutil.Process]:
    """Return the processes that drive a run in the cluster."""
    drivers = []
    for process in psutil.Process(cluster.nodes[0].process.pid).children(recursive=True):
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if "pbt_disent" in command and name in command:
            drivers.append(process)
    return drivers


@long
def test_a_run_is_submitted_watched_stopped_killed_and_resumed(verb: Call, cluster: LocalCluster, place: Path) -> None:
    runs, run = place / "runs", place / "runs" / "small-1"
    printed = ok(verb("submit", "small.yaml", "--runs", str(runs), "--working-dir", "carried"))
    assert f"its folder there will be {runs}/small-1" in printed
    taken = verb("submit", "small.yaml", "--runs", str(runs), "--name", "small-1")
    assert taken.returncode == 2
    assert "was submitted to" in taken.stderr
    assert f"pbt-disent resume small-1 --address {cluster.url}" in taken.stderr
    assert len(taken.stderr.splitlines()) == 1

    first = run / "rounds/0/generation-0000.json"
    wait_until(lambda: first.exists() or status(verb, "small-1")["status"] == "FAILED")
    assert first.exists(), ok(verb("logs", "small-1"))
    shown = ok(verb("watch", "small-1", "--once"))
    assert shown.startswith("small-1: running, pbt-u-vae on sprites")
    assert "round 0, generation" in shown
    assert "m02" in shown
    running = verb("resume", "small-1", "--runs", str(runs))
    assert running.returncode == 2
    assert "is running there; stop it first" in running.stderr
    assert "stopped; every committed generation is safe" in ok(verb("stop", "small-1"))
    done = len(manifests(run))
    assert status(verb, "small-1")["status"] == "STOPPED"
    assert json.loads((run / "lease.json").read_text())["released"]
    shown = ok(verb("watch", "small-1", "--once"))
    assert shown.startswith("small-1: stopped")
    assert f"pbt-disent resume small-1 --address {cluster.url}" in " ".join(shown.split())

    assert "as job small-1.2" in ok(verb("resume", "small-1", "--runs", str(runs)))
    wait_until(lambda: len(manifests(run)) > done)
    watched: list[subprocess.CompletedProcess[str]] = []
    watching = threading.Thread(target=lambda: watched.append(verb("watch", "small-1")))
    watching.start()
    (driver,) = driver_of(cluster, "small-1")
    driver.send_signal(signal.SIGKILL)
    assert not psutil.wait_procs([driver], timeout=60)[1]
    done = len(manifests(run))
    wait_until(lambda: len(manifests(run)) > done)
    record = status(verb, "small-1")
    assert record["status"] == "RUNNING"
    assert record["retry"] == "ended by signal 9; retry 1 of 3 in 5 s"
    assert (record["round"], record["job"]) == ("0", "small-1.2")
    assert record["generation"] >= done - 1
    (line,) = ok(verb("list")).splitlines()
    assert line.split()[:2] == ["small-1", "running"]
    assert watching.is_alive(), "a driver that is started again ends no watch"
    ok(verb("stop", "small-1"))
    watching.join(120)
    (watch,) = watched
    assert watch.returncode == 1, watch.stdout + watch.stderr
    assert watch.stdout.splitlines()[-1].startswith("small-1: stopped")
    generations = [line.split()[:3] for line in watch.stdout.splitlines() if line.startswith("  0 generation ")]
    assert generations == [["0", "generation", f"{number}:"] for number in range(1, len(manifests(run)) + 1)]
    log = ok(verb("logs", "small-1", "--follow"))
    assert "supervisor: ended by signal 9" in log
    assert "Traceback" not in log

    committed = dict(list(manifests(run).items())[: done + 3])  # some behind the last kill are enough
    whole = load_config(place / "small.yaml", [f"population.max_generations={len(committed)}"])
    undisturbed = create_run(whole, "small", place / "reference", None)
    api.execute(api.prepare(undisturbed), Watch(), api.InProcess())
    assert committed == manifests(undisturbed.path)
    for file in runs.rglob("*"):
        assert not (file.is_file() and str(cluster.token).encode() in file.read_bytes()), f"the token is in {file}"
    assert str(cluster.token) not in log


def test_a_submitted_run_succeeds_and_leaves_a_model(verb: Call, place: Path) -> None:
    one = ["--set", "population.max_generations=1", "--name", "one"]
    ok(verb("submit", "small.yaml", "--runs", str(place / "runs"), *one))
    watched = ok(verb("watch", "one"))
    assert watched.splitlines()[-1].startswith("one: finished"), watched
    log = ok(verb("logs", "one", "--follow"))
    assert wait_until(
        lambda: (record := status(verb, "one"))["status"] in {"SUCCEEDED", "FAILED"} and record["status"]
    ) == ("SUCCEEDED"), log
    assert RunFolder(place / "runs" / "one").model.exists()
    assert "one: succeeded" in ok(verb("status", "one"))


def test_the_token_opens_and_nothing_else_does(verb: Call, place: Path, cluster: LocalCluster) -> None:
    (place / "wrong").write_text("0" * 64)
    for token, words in ((None, "is missing"), (str(place / "wrong"), "is wrong")):
        done = verb("list", token_path=token)
        assert done.returncode == 2
        assert f"token for {cluster.url}: {words}" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = verb("status", "smll-1")
    assert done.returncode == 2
    assert "was not submitted to" in done.stderr


def join(cluster: LocalCluster, place: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pbt_disent", "run", "small.yaml", "--address", cluster.address, *arguments],
        cwd=place,
        env={**cluster.environment, **changes},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_joining_with_a_wrong_token_or_for_too_many_gpus_is_refused_in_one_line(
    cluster: LocalCluster, place: Path
) -> None:
    for arguments, changes, words in (
        ((), {"RAY_AUTH_TOKEN": "0" * 64}, "the token is wrong"),
        (("--gpus", "3"), {}, "resources.gpus=3: must be at most 0, the GPUs of the cluster"),
    ):
        done = join(cluster, place, "--runs", "joined", *arguments, **changes)
        assert done.returncode == 2, done.stdout + done.stderr
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert os.environ.get("RAY_AUTH_TOKEN") != "0" * 64
