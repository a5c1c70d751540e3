"""Nodes that leave, join, freeze and are cut off, on clusters of real Ray nodes on this machine."""

from __future__ import annotations

import os
import queue
import shutil
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

from tests.conftest import missing
from tests.faults.cluster_driver import BEGUN, FINISHED
from tests.faults.small_population import long, small_spec, train_population
from tests.population.fakes import manifests
from tests.tune.local_cluster import QUICK_DEATH, LocalCluster, Node, local_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
GENERATIONS = 4


class Driver:
    """The driver in a process of its own, and the lines that it prints."""

    def __init__(self, cluster: LocalCluster, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        command = [*prefix, sys.executable, "-m", "tests.faults.cluster_driver", str(folder), cluster.address]
        self.process = subprocess.Popen(
            [*command, str(GENERATIONS)],
            cwd=ROOT,
            env=cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("EOF")

    def until(self, word: str, seconds: float = 240) -> str:
        deadline = time.monotonic() + seconds
        while True:
            line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            self.printed.append(line)
            if line.startswith(word):
                return line
            assert line != "EOF", "\n".join(self.printed)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self._listener.join(30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def end(self) -> None:
        self.until("EOF")
        assert self.process.wait(30) == 0, "\n".join(self.printed)

    def slow(self, seconds: float) -> None:
        (self.folder / "slow").write_text(str(seconds))

    def begun(self, generation: int) -> list[tuple[int, str]]:
        """Return process and node of the tasks that have begun in a generation."""
        names = [path.name.split("-") for path in (self.folder / BEGUN).glob(f"[0-9]*-g{generation}-*")]
        return [(int(pid), node) for pid, node, *_ in names]

    def wait_for_task_on(self, node: Node, generation: int) -> int:
        """Return the process of a task that runs on a node."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            pids = {process.pid for process in node.processes()}
            for pid, _ in self.begun(generation):
                if pid in pids:
                    return pid
            time.sleep(0.05)
        raise AssertionError(f"no task of generation {generation} has begun there: {self.printed}")


Drive = Callable[..., Driver]


@pytest.fixture
def drive() -> Iterator[Drive]:
    """Start drivers; what is left of them after the test is ended."""
    started: list[Driver] = []

    def start(*arguments: Any) -> Driver:
        started.append(Driver(*arguments))
        return started[-1]

    yield start
    for driver in started:
        driver.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train_population(folder, spec=lambda bench: small_spec(bench, generations=GENERATIONS))
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A head and two more nodes, with a CPU each."""
    with local_cluster(settings=QUICK_DEATH) as cluster:
        cluster.head(1)
        cluster.node(1)
        cluster.node(1)
        yield cluster


def test_a_node_leaves_and_another_one_joins_within_a_generation(
    cluster: LocalCluster, drive: Drive, tmp_path: Path, undisturbed: Path
) -> None:
    """Also: the same seed has the same lineage on three nodes as in one process."""
    driver = drive(cluster, tmp_path / "run")
    driver.until("committed 0")
    driver.slow(1.5)
    leaving = cluster.nodes[-1]
    busy = driver.wait_for_task_on(leaving, 2)
    processes = leaving.processes()
    leaving.kill()
    assert not psutil.pid_exists(busy)
    assert not any(process.is_running() for process in processes)
    joining = cluster.node(1)
    driver.until("committed 2")
    (driver.folder / "slow").unlink()
    line = driver.until("workers")
    driver.end()
    _, started, lost, *_ = line.split()
    assert int(lost) >= 1, driver.printed
    assert int(started) >= 4, driver.printed
    assert len({node for generation in range(3) for _, node in driver.begun(generation)}) >= 3
    assert joining.process.poll() is None
    assert manifests(driver.folder) == manifests(undisturbed)


@long
def test_a_node_that_freezes_is_given_up_and_its_late_results_count_for_nothing(
    drive: Drive, tmp_path: Path, undisturbed: Path
) -> None:
    with local_cluster(settings=QUICK_DEATH) as cluster:
        cluster.head(1)
        frozen = cluster.node(1)
        driver = drive(cluster, tmp_path / "run")
        driver.until("committed 0")
        driver.slow(2.0)
        busy = driver.wait_for_task_on(frozen, 2)
        frozen.signal(signal.SIGSTOP)
        assert psutil.Process(busy).status() == psutil.STATUS_STOPPED
        driver.until("committed 2", 400)
        frozen.signal(signal.SIGCONT)
        (driver.folder / "slow").unlink()
        line = driver.until("workers")
        driver.end()
        assert int(line.split()[2]) >= 1
        assert manifests(driver.folder) == manifests(undisturbed)


@pytest.fixture
def cut() -> Iterator[Network]:
    """A network namespace beside this one, joined by a cable."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        missing("root", "network namespaces need root and ip (apt-get install iproute2)")
    with Network(f"pbtd{os.getpid() % 10_000}") as network:
        yield network


def wait_for_file(folder: Path, pattern: str) -> Path:
    deadline = time.monotonic() + 120
    while not (paths := list(folder.glob(pattern))):
        assert time.monotonic() < deadline, f"there is no {pattern}"
        time.sleep(0.1)
    return paths[0]


class Network:
    """A network namespace with an address, whose cable can be pulled and put back."""

    here, there = "10.231.77.1", "10.231.77.2"

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix = ("ip", "netns", "exec", name)

    def __enter__(self) -> Network:
        self._ip("netns", "add", self.name)
        self._ip("link", "add", f"{self.name}h", "type", "veth", "peer", "name", f"{self.name}n", "netns", self.name)
        self._ip("addr", "add", f"{self.here}/24", "dev", f"{self.name}h")
        self._ip("link", "set", f"{self.name}h", "up")
        for line in (
            f"addr add {self.there}/24 dev {self.name}n",
            f"link set {self.name}n up",
            "link set lo up",
        ):
            self._ip("-n", self.name, *line.split())
        return self

    def __exit__(self, *_: object) -> None:
        self._ip("link", "del", f"{self.name}h")
        self._ip("netns", "del", self.name)

    def pull(self) -> None:
        self._ip("link", "set", f"{self.name}h", "down")

    def put_back(self) -> None:
        self._ip("link", "set", f"{self.name}h", "up")

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)


@long
def test_a_node_that_is_cut_off_goes_on_alone_and_what_it_writes_late_counts_for_nothing(
    drive: Drive, cut: Network, tmp_path: Path, undisturbed: Path
) -> None:
    with local_cluster(settings=QUICK_DEATH, host=cut.here) as cluster:
        cluster.head(1)
        away = cluster.node(1, prefix=cut.prefix, host=cut.there)
        driver = drive(cluster, tmp_path / "run")
        driver.until("committed 0")
        driver.slow(20.0)
        zombie = driver.wait_for_task_on(away, 2)
        pulled = time.time()
        cut.pull()
        (driver.folder / "slow").unlink()
        driver.until("committed 2", 400)
        record = (driver.folder / "rounds/0/generation-0002.json").read_bytes()
        assert psutil.pid_exists(zombie), "it was to go on after it was given up"
        late = wait_for_file(driver.folder / BEGUN, f"{FINISHED}{zombie}-*-g2-*")
        assert late.stat().st_mtime > pulled, "it wrote before it was cut off"
        cut.put_back()
        line = driver.until("workers")
        driver.end()
        assert int(line.split()[2]) >= 1
        assert (driver.folder / "rounds/0/generation-0002.json").read_bytes() == record
        assert manifests(driver.folder) == manifests(undisturbed)
