"""Bad input on the command line: one line with value, rule and remedy, exit code 2, and nothing left behind."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from pbt_disent.cli import main
from pbt_disent.config import load_config
from pbt_disent.store.runs import create_run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "demoo"], ["preset 'demoo'", "did you mean 'demo'"]),
        (["run", "demo", "--set", "populaton.size=3"], ["'populaton'", "did you mean 'population'"]),
        (["run", "demo", "--set", "population.size=0"], ["population.size=0", "greater than or equal to 2"]),
        (["run", "demo", "--cpus", "0"], ["resources.cpus=0", "greater than or equal to 1"]),
        (["run", "demo", "--cpus", "4000"], ["resources.cpus=4000", "must be at most"]),
        (["run", "demo", "--memory", "100000"], ["resources.memory_gib=100000", "must be at most"]),
        (["run", "demo", "--data", "nowhere.npz"], ["nowhere.npz"]),
        (["run", "demo", "--set", "objective.beta=0.1.2"], ["objective.beta"]),
        (["plan", "nothing.yaml"], ["nothing.yaml", "must be a readable YAML file"]),
        (["resume", "nothing"], ["run 'nothing'", "neither a folder nor a name"]),
        (["report", "."], ["is no run folder"]),
        (["submit", "--working-dir", "nowhere", "--runs", "/runs"], ["--working-dir nowhere", "must be a folder"]),
        (["submit", "--retries", "-1", "--runs", "/runs"], ["--retries -1", "at least 0"]),
        (["ui"], ["holds no run"]),
    ],
)
def test_one_line_and_exit_code_two(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("pbt-disent: ")
    assert all(word in error for word in words), error
    assert list(tmp_path.rglob("*")) == []


def test_a_port_in_use_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = create_run(load_config("demo"), "demo", tmp_path, None)
    (folder.path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", str(folder.path), "--port", str(port)]) == 2
    assert f"{port}" in capsys.readouterr().err


def test_a_name_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_run(load_config("demo"), "demo", tmp_path, "mine")
    assert main(["run", "demo", "--runs", str(tmp_path), "--name", "mine"]) == 2
    assert "run 'mine': exists already" in capsys.readouterr().err


def test_what_a_resumed_run_may_not_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = create_run(load_config("demo"), "demo", tmp_path, None)
    assert main(["resume", str(folder.path), "--set", "seed=9"]) == 2
    assert "seed=9: may not change in a resumed run; start a new run" in capsys.readouterr().err


def test_doctor_lists_what_has_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    out = capsys.readouterr().out
    for name in ("demo", "betatcvae", "udr", "mig", "sprites", "torch"):
        assert f'"{name}"' in out
    assert main(["doctor"]) == 0
    assert "Ready." in capsys.readouterr().out


def test_a_full_disk_is_one_line_whatever_the_verb_was_doing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pbt_disent.cli import doctor

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file")

    monkeypatch.setattr(doctor, "examine", full)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "pbt-disent: /some/file: No space left on device; free some space\n"
    monkeypatch.setattr(doctor, "examine", lambda *_: Path(os.devnull, "x").mkdir())
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "pbt-disent: /dev/null/x: Not a directory; give another path\n"
    monkeypatch.setattr(doctor, "examine", Path("/no/such/file").read_text)
    with pytest.raises(FileNotFoundError):
        main(["doctor"])
