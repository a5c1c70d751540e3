"""MLflow's own pages on the store of one run."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.tracking.spool import Spool
from pbt_disent.tracking.tracking_store import embedded_uri, set_mlflow_defaults

__all__ = ["serve"]

_POLL_SECONDS, _GRACE_SECONDS = 0.2, 4.0
_PAGE = "/#/experiments/1/runs?workflowType=machine_learning"
"""The page of the run's experiment: in a store of its own the first one after MLflow's ``Default``, which is 0."""


def serve(run_folder: Path, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serve MLflow on the store in a run folder, in the foreground, until SIGINT or SIGTERM.

    Args:
        run_folder: The folder of the run.
        host: The address to listen on. Other than loopback it is open to whoever can reach it, without a password.
        port: The port to listen on.

    Returns:
        0 after a signal.

    Raises:
        UserError: The run has no store of its own, or the port is in use.
        PbtDisentError: The server ended by itself, or did not start.
    """
    _check_store(run_folder)
    _check_port(host, port)
    environ = dict(os.environ)
    set_mlflow_defaults(environ)
    environ.setdefault("PYTHONWARNINGS", "ignore")
    environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # eight processes that only serve LLM jobs
    store = embedded_uri(run_folder)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--registry-store-uri", store]
    command += ["--default-artifact-root", (run_folder.resolve() / "mlartifacts").as_uri()]
    command += ["--host", host, "--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    # A group of its own: MLflow starts processes itself, and a signal has to reach them all, once.
    server = subprocess.Popen(command, env=environ, start_new_session=True)
    try:
        with _received_signals() as received:
            url, announced = f"http://{host}:{port}", False
            while server.poll() is None and not received:
                if not announced and (announced := _is_healthy(url)):
                    print(f"MLflow on {url}{_PAGE} (Ctrl-C ends it)", flush=True)
                time.sleep(_POLL_SECONDS)
    finally:
        _end(server)
    if not received:
        raise PbtDisentError(f"the MLflow server ended by itself with code {server.returncode}; see above")
    return 0


def _check_store(run_folder: Path) -> None:
    if (run_folder / "mlflow.db").exists():
        return
    run = Spool(run_folder).first
    if run is not None and run["store"] != "embedded":
        raise UserError(f"run {run_folder}", f"is recorded at {run['store']}", "open that in a browser")
    if run is not None:
        raise UserError(f"run {run_folder}", "has nothing in MLflow yet", "wait for its first generation")
    raise UserError(f"run {run_folder}", "has no MLflow store (mlflow.db)", "run it with tracking.enabled=true")


def _check_port(host: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}", "must lie between 1 and 65535", "leave it out for 5000")
    try:
        family, socket_type, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket_type, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise UserError(f"--port {port} on {host}", reason, f"choose another, such as --port {port + 1}") from None


@contextmanager
def _received_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the list that is yielded."""
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1):
            return True
    except OSError:
        return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server's process group with SIGTERM, then with SIGKILL, so that nothing of it is left behind."""
    _signal(server, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(_GRACE_SECONDS)
    _signal(server, signal.SIGKILL)
    server.wait()


def _signal(server: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, number)
