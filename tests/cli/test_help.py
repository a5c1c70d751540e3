"""What the command line says of itself: help with examples, the version, completion, and the nearest name."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pbt_disent import __version__
from pbt_disent.cli import main
from pbt_disent.cli.app import app
from tests.cli.parsing import parse


def verbs(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every verb with its name, such as ``data info``."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


VERBS = dict(verbs())


def test_every_verb_is_listed_with_a_whole_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert {line.split()[0] for line in lines} == {name.split()[0] for name in VERBS}
    assert all(line.endswith(".") and "..." not in line for line in lines), lines


@pytest.mark.parametrize("name", VERBS)
def test_the_help_of_a_verb_has_examples_that_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    examples = [line.strip() for line in capsys.readouterr().out.partition("Examples:\n")[2].splitlines()]
    assert examples
    for example in examples:
        assert example.startswith(f"pbt-disent {name}")
        parse(shlex.split(example)[1:])


@pytest.mark.parametrize("name", VERBS)
def test_every_argument_and_option_is_described_by_a_sentence(name: str) -> None:
    for parameter in VERBS[name].params:
        assert parameter.help[0].isupper(), parameter.name
        assert parameter.help.endswith("."), parameter.name


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pbt-disent {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "verb 'rnu': is unknown to pbt-disent; did you mean 'run'? known: data, doctor, "),
        (["data", "inof"], "verb 'inof': is unknown to pbt-disent data; did you mean 'info'? known: info, "),
        (["run", "--stet", "a=1"], "option --stet: is unknown to pbt-disent run; did you mean '--set'? known: --addr"),
        (["status"], "argument RUN: is missing; see: pbt-disent status --help"),
        (["encode", "model"], "option --out: is missing; see: pbt-disent encode --help"),
        (["watch", "--interval", "soon"], "--interval soon: must be a valid number; see: pbt-disent watch --help"),
        (["run", "--set"], "option --set: requires an argument; see: pbt-disent --help"),
        (["watch", "--once=3"], "option --once: does not take a value; see: "),
        (["run", "a", "b"], "pbt-disent run: got unexpected extra argument(s) (b); see: pbt-disent run --help"),
    ],
)
def test_what_does_not_parse_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"pbt-disent: {words}")


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_without_a_verb_the_help_is_shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Commands:" in capsys.readouterr().err


def run(folder: Path, **environment: str) -> str:
    command = [sys.executable, "-m", "pbt_disent"]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True, cwd=folder
    )
    return done.stdout


@pytest.mark.parametrize(("shell", "sign"), [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --")])
def test_shells_get_a_script_that_completes(shell: str, sign: str, tmp_path: Path) -> None:
    assert sign in run(tmp_path, _PBT_DISENT_COMPLETE=f"source_{shell}")


def complete(line: str, folder: Path) -> list[str]:
    words = line.split(" ")
    return run(
        folder, _PBT_DISENT_COMPLETE="complete_bash", COMP_WORDS="\n".join(words), COMP_CWORD=str(len(words) - 1)
    ).split()


def test_verbs_options_presets_and_runs_are_completed(tmp_path: Path) -> None:
    for name in ("demo-1", "other"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").touch()
    assert complete("pbt-disent re", tmp_path) == ["resume", "replay", "report", "register"]
    assert complete("pbt-disent run --all", tmp_path) == ["--allow-unauthenticated"]
    assert "demo" in complete("pbt-disent run d", tmp_path)
    assert complete("pbt-disent resume d", tmp_path) == ["demo-1"]


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys\nfrom pbt_disent.cli import main\nmain(['run', '--help'])\n"
        "print([name for name in ('torch', 'ray', 'mlflow', 'numpy', 'pandas', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
