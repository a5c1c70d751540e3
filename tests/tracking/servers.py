"""Stores that tests start for themselves on 127.0.0.1: an MLflow server, with or without a password, and PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

START = 150.0


def wait_for_writers() -> None:
    """Wait until no writer sends any more: one that was closed in a hurry may still be in a call."""
    for thread in threading.enumerate():
        if thread.name == "mlflow-writer":
            thread.join(START)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A tracking server on a folder, which can be killed and started again.

    Args:
        folder: of its database and artifacts.
        password: of its user ``admin``; none for a server that lets everybody in.
    """

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self.folder, self.password, self.port = folder, password, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def start(self) -> None:
        environ = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environ |= {"PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.store, "--workers", "1"]
        command += ["--artifacts-destination", (self.folder / "artifacts").as_uri()]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        if self.password is not None:
            settings = self.folder / "auth.ini"
            database = f"sqlite:///{self.folder}/auth.db"
            settings.write_text(
                f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {database}\nadmin_username = admin\n"
                f"admin_password = {self.password}\n"
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            )
            environ |= {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_AUTH_ADMIN_PASSWORD": self.password}
            environ |= {"MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests"}
            command += ["--app-name", "basic-auth"]
        log = (self.folder / "server.log").open("ab")
        self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
        log.close()
        until = time.monotonic() + START
        while not self._answers():
            log_so_far = (self.folder / "server.log").read_text()[-3000:]
            assert self._process.poll() is None, log_so_far
            assert time.monotonic() < until, log_so_far
            time.sleep(0.2)

    def kill(self) -> None:
        """End it and everything that it started, as a crash does."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self._process.kill()
        self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
            return True
        return False


@contextmanager
def running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, wherever Debian or the path has them."""
    initdb = shutil.which("initdb")
    folders = [Path(initdb).resolve().parent] if initdb else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def postgres(programs: Path, folder: Path) -> Iterator[str]:
    """Start a cluster of PostgreSQL's own in a folder, as a user that is not root, and give its URI."""
    port = free_port()
    user = "nobody" if os.geteuid() == 0 else None
    data = folder / "cluster"
    data.mkdir()
    if user is not None:
        shutil.chown(data, user)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "user": user, "cwd": "/"}
    setting = ["--auth=trust", "--username=tester", "--encoding=UTF8", "--no-sync", "--locale=C"]
    subprocess.run([programs / "initdb", "-D", data, *setting], check=True, **quiet)  # type: ignore[call-overload]
    options = ["-c", "listen_addresses=127.0.0.1", "-p", str(port), "-c", f"unix_socket_directories={data}"]
    server = subprocess.Popen([programs / "postgres", "-D", data, *options], **quiet)  # type: ignore[call-overload]
    try:
        until = time.monotonic() + START
        while True:
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
                break
            assert server.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
