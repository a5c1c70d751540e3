"""`pbt-disent data`: what it says of a world, a store and a file, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pbt_disent.cli import main

GRID = ["--set", "size=16", "--set", "grid={scale: 2, orientation: 2, x: 4, y: 4}"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PBT_DISENT_CACHE", str(tmp_path / "cache"))


def test_a_world_is_rendered_described_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "render", "sprites", *GRID, "--processes", "1"]) == 0
    assert capsys.readouterr().out == "192 images in sprites\n"
    assert main(["data", "info", "./sprites", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["reader"], found["images"], found["height"]) == ("stored", 192, 16)
    assert main(["data", "info", "sprites", *GRID]) == 0
    said = capsys.readouterr().out
    assert f"fingerprint    {found['fingerprint']}" in said
    assert "factors        shape 3, scale 2, orientation 2, x 4, y 4" in said
    assert main(["data", "verify", "./sprites"]) == 0
    assert "note: factor x: 4 values, 48 images each" in capsys.readouterr().out


def test_nothing_empty_is_said_and_rules_are_options(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("mine.npy", np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8))
    assert main(["data", "info", "mine.npy"]) == 0
    said = capsys.readouterr().out
    assert "images         4\n" in said
    assert "factors" not in said
    assert main(["data", "info", "sprites", *GRID, "--set", "where=x < 2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 96


def test_verify_fails_where_a_set_should_not_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("nan.npy", np.full((4, 8, 8), np.nan))
    assert main(["data", "verify", "nan.npy"]) == 1
    assert capsys.readouterr().out.startswith("error: array of nan: holds NaN")


FILLS_UP = """
import resource, sys
from pbt_disent.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX's")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(tmp_path: Path, processes: str) -> None:
    arguments = ["data", "render", "sprites", *GRID, "--out", "store", "--processes", processes]
    command = [sys.executable, "-c", FILLS_UP, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "folder store: has no room left (File too large); make room" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["render", "sprits"], "did you mean 'sprites'"),
        (["render", "sprites", "--processes", "0"], "--processes 0: must be at least 1"),
        (["info", "sprites", "--set", "size"], "must have the form key=value"),
        (["info", "sprites", "--set", "sise=3"], "did you mean 'size'"),
        (["info", "nothing.npz"], "neither a world nor a file"),
        (["info", "sprites", "--set", "grid=3"], "grid 3: must give levels by factor"),
        (["info", "sprites", *GRID, "--set", "where=x < [1, 2]"], "compares in a way that is not allowed"),
        (["render", "sprites", *GRID, "--out", "/proc/none"], "folder /proc/none: cannot be written"),
        (["verify", "sprites", "--set", "grid={x: 99}", "--json"], ""),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["data", *arguments])
    out, err = capsys.readouterr()
    if arguments[0] == "verify":
        assert code == 1
        assert json.loads(out) == [{"level": "error", "text": "grid x=99: must be 1 to 32; ask for fewer levels"}]
    else:
        assert code == 2
        assert words in err
        assert err.count("\n") == 1
