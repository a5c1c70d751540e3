"""Who is let in where: tokens, addresses, and the one line that says what is wrong; no Ray is started here."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pbt_disent.cli import main
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.tune.address import address_to_join, check_reachable, find_token
from pbt_disent.tune.cluster import _environment, _explain_refusal, reread_environment
from pbt_disent.tune.resources import allocate_cluster

TOKEN = "0123456789abcdef" * 4


class Dashboard(BaseHTTPRequestHandler):
    """A dashboard that asks for TOKEN, or for none, or is none, by the path of its server."""

    asks = "token"

    def do_GET(self) -> None:
        authorization = self.headers.get("Authorization")
        status = {"nothing": 200, "elsewhere": 404}.get(self.asks, 200 if authorization == f"Bearer {TOKEN}" else 401)
        content = json.dumps([]).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=["token"])
def dashboard(request: pytest.FixtureRequest) -> Iterator[str]:
    handler = type("Handler", (Dashboard,), {"asks": request.param})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a verb that is refused, and return its one line."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert TOKEN not in printed.err
    return printed.err


def test_a_token_is_found_where_ray_finds_it(home: Path) -> None:
    assert find_token() is None
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("of the user\n")
    assert find_token() == "of the user"
    (home / "file").write_text(" of the file ")
    assert find_token({"RAY_AUTH_TOKEN_PATH": str(home / "file")}) == "of the file"
    assert find_token({"RAY_AUTH_TOKEN": " given", "RAY_AUTH_TOKEN_PATH": str(home / "file")}) == "given"
    with pytest.raises(UserError, match=r"nowhere: is not readable \(No such file"):
        find_token({"RAY_AUTH_TOKEN_PATH": str(home / "nowhere")})


@pytest.mark.parametrize("verb", [["status", "x"], ["logs", "x"], ["stop", "x"], ["list"], ["submit", "demo"]])
def test_a_missing_or_wrong_token_is_said_in_one_line(
    verb: list[str], dashboard: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"token for {dashboard}: is missing" in refused(capsys, *verb, "--address", dashboard)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    message = refused(capsys, *verb, "--address", dashboard)
    assert f"token for {dashboard}: is wrong" in message
    assert "RAY_AUTH_TOKEN_PATH" in message
    assert "another" not in message


@pytest.mark.parametrize("dashboard", ["nothing"], indirect=True)
def test_a_cluster_that_asks_for_no_token_is_refused(dashboard: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "list", "--address", dashboard)
    assert "asks for no token, so that whoever reaches it runs code there" in message
    assert "--allow-unauthenticated" in message


@pytest.mark.parametrize("dashboard", ["elsewhere"], indirect=True)
def test_something_else_than_a_dashboard_is_refused(dashboard: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no Ray Jobs API (status 404)" in refused(capsys, "list", "--address", dashboard)


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_an_address_that_does_not_answer_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    port = closed_port()
    message = refused(capsys, "status", "x", "--address", f"http://127.0.0.1:{port}")
    assert "does not answer (Connection refused)" in message
    assert "ssh -L" in message
    assert "must be a dashboard's URL" in refused(capsys, "list", "--address", "somewhere:8265")
    with pytest.raises(UserError, match=r"does not answer \(Connection refused\); start Ray there"):
        check_reachable(f"127.0.0.1:{port}")
    assert "does not answer" in refused(capsys, "run", "demo", "--address", f"127.0.0.1:{port}")


def test_which_ray_a_run_joins() -> None:
    assert address_to_join(None, {}) is None
    assert address_to_join(None, {"RAY_ADDRESS": "10.0.0.1:6379"}) == "10.0.0.1:6379"
    assert address_to_join(None, {"RAY_ADDRESS": "http://10.0.0.1:8265"}) is None
    assert address_to_join("local", {"RAY_ADDRESS": "10.0.0.1:6379"}) is None
    assert address_to_join("auto", {}) == "auto"
    for wrong in ("10.0.0.1", "ray://10.0.0.1:10001", ":6379", "host:port"):
        with pytest.raises(UserError, match="must be HOST:PORT, auto or local"):
            address_to_join(wrong, {})


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError(
                "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.11.7\n"
                "This process on node 10.0.0.2 was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\n"
            ),
            "has Ray 2.59.0 and Python 3.11.7, here are Ray 2.60.0 and Python 3.12.1; install the same versions",
        ),
        (ConnectionError("Could not find any running Ray instance"), "refuses this process: the token is wrong"),
    ],
)
def test_why_ray_refuses_this_process_is_said_in_one_line(error: Exception, words: str) -> None:
    with pytest.raises(UserError) as caught, _explain_refusal("10.0.0.1:6379"):
        raise error
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_versions_are_told_from_what_ray_really_raises() -> None:
    """The text comes from Ray itself, so that a release that words it otherwise is noticed."""
    from ray._private.utils import check_version_info

    theirs = {"ray_version": "2.1.0", "python_version": "3.7.1"}
    with pytest.raises(UserError, match=r"has Ray 2\.1\.0 and Python 3\.7\.1, here are Ray"), _explain_refusal("h:1"):
        check_version_info(theirs, "node 10.0.0.2")


def test_more_than_the_cluster_has_is_refused() -> None:
    from pbt_disent.config import ResourcesConfig

    nodes = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0}]
    with pytest.raises(UserError, match=r"resources.gpus=2: must be at most 1, the GPUs of the cluster; ask for fewer"):
        allocate_cluster(ResourcesConfig(gpus=2), 4, nodes)
    with pytest.raises(UserError, match=r"resources.cpus=9: must be at most 8, the CPUs of the cluster"):
        allocate_cluster(ResourcesConfig(cpus=9), 4, nodes)
    with pytest.raises(PbtDisentError, match="has no CPU to train on"):
        allocate_cluster(ResourcesConfig(), 4, [{"memory": 1.0}])


def test_submit_refuses_what_the_cluster_could_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert "must be an absolute path" in refused(capsys, "submit", "demo", "--runs", "runs")
    assert "must have letters, digits" in refused(capsys, "submit", "demo", "--name", "a/../b")
    assert "must not have credentials" in refused(capsys, "submit", "demo", "--runs", "s3://key:hidden@bucket/runs")
    message = refused(capsys, "submit", "sprites-paper", "--data", "mine")
    assert "is a path on this machine that the cluster does not see" in message


def test_ray_forgets_the_token_of_a_cluster_that_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would ask the next cluster's nodes for it, and that cluster would take this process for dead."""
    from ray import _raylet

    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    native: Any = _raylet
    loader = native.AuthenticationTokenLoader.instance()
    reread_environment()
    assert not loader.has_token(ignore_auth_mode=True)
    with _environment(1, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}):
        reread_environment()
        assert loader.get_raw_token() == TOKEN
    assert not loader.has_token(ignore_auth_mode=True)
