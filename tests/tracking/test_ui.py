from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from pbt_disent.errors import UserError
from pbt_disent.tracking.ui import serve
from pbt_disent.tracking.writer import MlflowWriter
from tests.simulated import simulate

START = 120.0


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    code = "import sys; from pathlib import Path; from pbt_disent.tracking.ui import serve"
    code += "; sys.exit(serve(Path(sys.argv[1]), port=int(sys.argv[2])))"
    command = [sys.executable, "-c", code, str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            child.kill()
        process.kill()
        process.communicate()


def test_a_port_in_use_is_one_line_and_no_server(ready_folder: Path, port: int) -> None:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        with pytest.raises(UserError, match=f"--port {port} on 127.0.0.1: is in use; choose another") as caught:
            serve(ready_folder, port=port)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("wrong", [0, -1, 65536])
def test_a_port_that_is_none(ready_folder: Path, wrong: int) -> None:
    with pytest.raises(UserError, match=f"--port {wrong}: must lie between 1 and 65535"):
        serve(ready_folder, port=wrong)


def test_an_address_that_is_not_ours(ready_folder: Path, port: int) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        serve(ready_folder, host="192.0.2.1", port=port)


def test_a_run_without_a_store(run_folder: Path) -> None:
    with pytest.raises(UserError, match=r"has no MLflow store"):
        serve(run_folder)


def test_a_run_that_is_recorded_elsewhere_says_where(run_folder: Path) -> None:
    MlflowWriter(run_folder, "http://tracker:5000", "one", "dots").close(0)
    with pytest.raises(UserError, match=r"is recorded at http://tracker:5000"):
        serve(run_folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_answers_and_a_signal_ends_it_and_all_its_processes(
    ready_folder: Path, port: int, play: Callable[..., None], number: int
) -> None:
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, simulate(members=2, generations=1))
    with served(ready_folder, port) as process:
        assert process.stdout is not None
        assert any(f"http://127.0.0.1:{port}/#/experiments/1/" in line for line in process.stdout)
        query = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=1"
        with urllib.request.urlopen(query, timeout=30) as answer:
            assert b"pbt-disent/dots" in answer.read()
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        begin = time.monotonic()
        os.kill(process.pid, number)
        assert process.wait(START) == 0
        assert time.monotonic() - begin < 10
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
