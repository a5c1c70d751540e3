"""What the benchmark records in MLflow: a simulated population, and a server of its own to record it on."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.instant import play_instantly
from pbt_disent.errors import PbtDisentError
from pbt_disent.population.journal import read_manifests
from pbt_disent.tracking.records import generation_record, trace_origins
from pbt_disent.types import Json

__all__ = ["PasswordServer", "password_server", "population_records"]

_STARTED_AT = 1_700_000_000_000
_PATIENCE = 180.0


def population_records(folder: Path, members: int, generations: int, metrics: int = 0) -> list[Json]:
    """Return what the spool is told of a population whose members train in no time.

    Args:
        folder: of the run, empty; its manifests stay there.
        members: of the population.
        generations: of it.
        metrics: each member has at least so many in a generation; losses are added until it has.
    """
    play_instantly(folder, members, generations)
    found, origins = [], dict[int, str]()
    for manifest in read_manifests(folder / "rounds/0"):
        origins = trace_origins(origins, manifest)
        record = generation_record(_STARTED_AT + manifest.generation, manifest, None, origins, 1.0)
        for member in record["members"]:
            for number in range(metrics - len(member["metrics"])):
                member["metrics"][f"loss/term_{number:02d}"] = number + 0.1 * manifest.generation
        found.append(record)
    return found


class PasswordServer:
    """A running MLflow server on 127.0.0.1 that asks for a password."""

    def __init__(self, process: psutil.Process, uri: str) -> None:
        self.uri = uri
        """With user and password."""
        self._process = process

    def processor_seconds(self) -> float:
        """Return what it has used so far, with all its processes."""
        family = [self._process, *self._process.children(recursive=True)]
        return sum(sum(one.cpu_times()[:2]) for one in family)


@contextmanager
def password_server(folder: Path, *, remember: float = 0.0) -> Iterator[PasswordServer]:
    """Run a server on SQLite in a folder, with one worker.

    Args:
        folder: empty.
        remember: seconds for which it does not compute the hash of a password again (``auth_cache_ttl_seconds``,
            by default 0, MLflow's own default).

    Raises:
        PbtDisentError: it does not start.
    """
    password, settings = secrets.token_urlsafe(16), folder / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\nadmin_username = admin\n"
        f"admin_password = {password}\nauth_cache_ttl_seconds = {remember:.0f}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    environ = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environ |= {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_AUTH_ADMIN_PASSWORD": password}
    environ |= {"MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16), "PYTHONWARNINGS": "ignore"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--artifacts-destination", (folder / "artifacts").as_uri()]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", folder / "server.log")
        yield PasswordServer(psutil.Process(process.pid), f"http://admin:{password}@127.0.0.1:{port}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(address, timeout=2):
            return
        time.sleep(0.2)
    said = " ".join(log.read_text(encoding="utf-8", errors="replace").split())[-300:]
    raise PbtDisentError(f"the MLflow server did not start: {said}")
