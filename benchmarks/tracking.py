"""MLflow for the benchmark: records of a simulated population, a server with a password, and logging value by value."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from mlflow import MlflowClient

from benchmarks.simulated import run_instantly
from pbt_disent.errors import PbtDisentError
from pbt_disent.population.journal import read_manifests
from pbt_disent.tracking.records import generation_record, trace_origins
from pbt_disent.types import Json

__all__ = ["PasswordServer", "latest_metrics", "log_value_by_value", "password_server", "population_records"]

STARTED_AT = 1_700_000_000_000
START_TIMEOUT = 180.0


def population_records(folder: Path, members: int, generations: int, metrics: int = 0) -> list[Json]:
    """Return the records of a population whose members train in no time.

    Args:
        folder: The folder of the run, which is empty; its manifests stay there.
        members: The number of members.
        generations: The number of generations.
        metrics: The number of metrics that each member has at least in a generation; losses are added up to it.
    """
    run_instantly(folder, members, generations)
    records, origins = [], dict[int, str]()
    for manifest in read_manifests(folder / "rounds/0"):
        origins = trace_origins(origins, manifest)
        record = generation_record(STARTED_AT + manifest.generation, manifest, None, origins, 1.0)
        for member in record["members"]:
            for number in range(metrics - len(member["metrics"])):
                member["metrics"][f"loss/term_{number:02d}"] = number + 0.1 * manifest.generation
        records.append(record)
    return records


class PasswordServer:
    """A running MLflow server on 127.0.0.1 that asks for a password.

    Attributes:
        uri: The address of the server, with user and password.
    """

    def __init__(self, process: psutil.Process, uri: str) -> None:
        self.uri = uri
        self._process = process

    def processor_seconds(self) -> float:
        """Return the processor time that the server has used so far, with all its processes."""
        processes = [self._process, *self._process.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in processes)


@contextmanager
def password_server(folder: Path, *, cache_seconds: float = 0.0) -> Iterator[PasswordServer]:
    """Run a server on SQLite in a folder, with one worker.

    Args:
        folder: The folder of the store, which is empty.
        cache_seconds: The seconds for which the server does not compute the hash of a password again
            (``auth_cache_ttl_seconds``; the default, 0, is MLflow's own).

    Raises:
        PbtDisentError: The server does not start.
    """
    password, settings = secrets.token_urlsafe(16), folder / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\nadmin_username = admin\n"
        f"admin_password = {password}\nauth_cache_ttl_seconds = {cache_seconds:.0f}\n"
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
        _wait_until_healthy(process, f"http://127.0.0.1:{port}/health", folder / "server.log")
        yield PasswordServer(psutil.Process(process.pid), f"http://admin:{password}@127.0.0.1:{port}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(address, timeout=2):
            return
        time.sleep(0.2)
    output = " ".join(log.read_text(encoding="utf-8", errors="replace").split())[-300:]
    raise PbtDisentError(f"the MLflow server did not start: {output}")


def log_value_by_value(uri: str, experiment: str, records: Sequence[Json]) -> None:
    """Write the generations of one population as a script would, with one call for each value.

    It makes the same runs, with the same metrics, parameters and tags, and as few look-ups as such a script needs.

    Args:
        uri: The address of the store.
        experiment: The name of the experiment, which is created if need be.
        records: The records of the generations, in order.
    """
    client = MlflowClient(tracking_uri=uri)
    existing = client.get_experiment_by_name(experiment)
    experiment_id = existing.experiment_id if existing else client.create_experiment(experiment)
    parent = client.create_run(experiment_id).info.run_id
    children = {
        member["member"]: client.create_run(
            experiment_id, tags={"mlflow.parentRunId": parent, "member": str(member["member"])}
        ).info.run_id
        for member in records[0]["members"]
    }
    for record in records:
        _log(client, parent, record, record["metrics"], record["params"], {"generation": str(record["generation"])})
        for member in record["members"]:
            _log(client, children[member["member"]], record, member["metrics"], member["params"], member["tags"])


def latest_metrics(uri: str, experiment: str) -> dict[str, dict[str, float]]:
    """Return the latest metrics of every member of an experiment, by the number in the member's tag."""
    client = MlflowClient(tracking_uri=uri)
    existing = client.get_experiment_by_name(experiment)
    if existing is None:
        return {}
    runs = client.search_runs([existing.experiment_id], "tags.member != ''", max_results=1000)
    return {str(int(run.data.tags["member"].lstrip("m"))): dict(run.data.metrics) for run in runs}


def _log(client: MlflowClient, run: str, record: Json, metrics: Json, params: Json, tags: Json) -> None:
    for name, value in params.items():
        if record["generation"] == 0:
            client.log_param(run, name, value)
    for name, value in metrics.items():
        client.log_metric(run, name, value, record["time"], record["generation"])
    for name, value in tags.items():
        client.set_tag(run, name, value)
