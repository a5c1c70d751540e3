"""A Ray cluster of several nodes on this machine, as users start one: `ray start`, a token, ports of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

__all__ = ["LocalCluster", "Node", "free_port"]

RAY = str(Path(sys.executable).with_name("ray"))
QUICK_DEATH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "0",
}
"""A node that does not answer counts as dead after some seconds; by default that takes a minute."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


class Node:
    """A node of the cluster: `ray start --block`, and all processes below it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the node."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the node."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """End the node as a power cut does."""
        processes = self.processes() if self.process.poll() is None else []
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(20)
        psutil.wait_procs(processes, timeout=10)


class LocalCluster:
    """Starts a head, and nodes that join it.

    Args:
        folder: The folder of sockets and logs. Its path must be short.
        token: The token, or `None` to start the cluster without authentication.
        settings: Further environment variables.
        host: The address of the head, if it is to be reached from other network namespaces.
    """

    def __init__(
        self, folder: Path, token: str | None, settings: dict[str, str] | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.folder = folder
        self.host = host
        self.token = token
        self.port, self.dashboard = free_port(), free_port()
        self.nodes: list[Node] = []
        access = {"RAY_AUTH_MODE": "disabled"} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = {
            **inherited,
            **access,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # as in an activated environment
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "OMP_NUM_THREADS": "1",
            **(settings or {}),
        }

    @property
    def address(self) -> str:
        """HOST:PORT to join."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """URL of the dashboard."""
        return f"http://127.0.0.1:{self.dashboard}"

    def head(self, cpus: int, *, dashboard: bool = False) -> Node:
        """Start the head."""
        node = self._start(
            "--head",
            f"--port={self.port}",
            f"--num-cpus={cpus}",
            f"--temp-dir={self.folder}",
            f"--include-dashboard={str(dashboard).lower()}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self.dashboard}",
            f"--ray-client-server-port={free_port()}",
        )
        self._wait(node, dashboard)
        return node

    def node(self, cpus: int, *, prefix: Sequence[str] = (), host: str = "127.0.0.1") -> Node:
        """Start a node that joins, and wait until it has; `prefix` is a command that runs another one."""
        log = self.folder / f"node-{len(self.nodes)}.log"
        node = self._start(f"--address={self.address}", f"--num-cpus={cpus}", prefix=prefix, host=host)
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            assert node.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the node did not start"
            time.sleep(0.1)
        return node

    def close(self) -> None:
        """End all nodes."""
        for node in reversed(self.nodes):
            with contextlib.suppress(psutil.NoSuchProcess):
                node.signal(signal.SIGCONT)
            node.kill()

    def _start(self, *arguments: str, prefix: Sequence[str] = (), host: str | None = None) -> Node:
        command = [
            *prefix,
            RAY,
            "start",
            "--block",
            f"--node-ip-address={host or self.host}",
            "--object-store-memory=100000000",
            "--num-gpus=0",
            "--min-worker-port=0",
            "--max-worker-port=0",
            f"--dashboard-agent-listen-port={free_port()}",  # another cluster of this machine has Ray's usual one
            "--disable-usage-stats",
            *arguments,
        ]
        with (self.folder / f"node-{len(self.nodes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.nodes.append(Node(process))
        return self.nodes[-1]

    def _wait(self, node: Node, dashboard: bool) -> None:
        deadline = time.monotonic() + 120
        while not _listens(self.host, self.port) or (dashboard and not self._dashboard_answers()):
            assert node.process.poll() is None, (self.folder / "node-0.log").read_text()
            assert time.monotonic() < deadline, "the head did not start"
            time.sleep(0.1)

    def _dashboard_answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/api/jobs/", timeout=5).close()
        except urllib.error.HTTPError as error:
            return error.code in {401, 403}
        except OSError:
            return False
        return True


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def local_cluster(
    *, token: bool = True, settings: dict[str, str] | None = None, host: str = "127.0.0.1"
) -> Iterator[LocalCluster]:
    """Have a cluster without nodes, whose folder and processes go afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pbtc-", dir="/tmp"))
    cluster = LocalCluster(folder, secrets.token_hex(32) if token else None, settings, host)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)
