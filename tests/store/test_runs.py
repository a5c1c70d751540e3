"""Run folders: created, named, found, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pbt_disent import api
from pbt_disent.cli import main
from pbt_disent.config import load_config
from pbt_disent.errors import UserError
from pbt_disent.report.run_view import read_run
from pbt_disent.store.runs import create_run, find_run, newest_run


def test_run_folders_are_created_named_and_found(tmp_path: Path) -> None:
    config = load_config("demo")
    assert create_run(config, "demo", tmp_path, None).name == "demo-1"
    second = create_run(config, "demo", tmp_path, None)
    assert second.name == "demo-2"
    assert find_run("demo-2", tmp_path).path == second.path
    assert find_run(str(second.path), Path("elsewhere")).path == second.path
    assert second.config() == config
    assert newest_run(tmp_path).name == "demo-2"
    with pytest.raises(UserError, match="run 'demo-1': exists already"):
        create_run(config, "demo", tmp_path, "demo-1")
    with pytest.raises(UserError, match="known: demo-1, demo-2"):
        find_run("demo-3", tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="is no run folder"):
        find_run("other", tmp_path)
    second.describe(format=99)
    with pytest.raises(UserError, match="format 99"):
        find_run("demo-2", tmp_path)
    with pytest.raises(UserError, match="holds no run"):
        newest_run(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", " b", ".."])
def test_a_run_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"--name .*: must be the name of one folder"):
        create_run(load_config("demo"), "demo", tmp_path / "runs", name)
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("file", "content"), [("run.json", "{"), ("run.json", "[]"), ("config.yaml", "a: [1"), ("config.yaml", "\0")]
)
def test_a_damaged_run_is_named_in_one_line(tmp_path: Path, file: str, content: str) -> None:
    folder = create_run(load_config("demo"), "demo", tmp_path, None)
    (folder.path / file).write_text(content)
    with pytest.raises(UserError, match=rf"{file}: cannot be read \(") as caught:
        folder.description() if file == "run.json" else folder.config()
    assert "\n" not in str(caught.value)


VERBS_ON_A_RUN = {
    "resume": [],
    "watch": ["--once"],
    "report": [],
    "figures": [],
    "ui": [],
    "sync": [],
    "replay": [],
    "register": ["--name", "dots"],
    "score": [],
    "encode": ["--out", "codes.parquet"],
    "label": [],
    "traverse": ["--out", "pictures"],
    "export": ["--out", "encoder.pt2"],
}


@pytest.mark.parametrize("stated", [1, None])
@pytest.mark.parametrize("verb", VERBS_ON_A_RUN)
def test_a_run_of_an_older_format_is_refused_in_one_line_by_every_verb(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    stated: int | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = create_run(load_config("demo"), "demo", tmp_path / "runs", None).path
    description = json.loads((folder / "run.json").read_text())
    assert description.pop("format") == 2
    if stated is not None:
        description["format"] = stated
    (folder / "run.json").write_text(json.dumps(description))
    before = sorted(tmp_path.rglob("*"))
    assert main([verb, "demo-1", *VERBS_ON_A_RUN[verb]]) == 2
    version = "no format" if stated is None else "format 1"
    assert capsys.readouterr().err == (
        f"pbt-disent: run {folder} of {version}: "
        "must have format 2; start a new run, or use the version that wrote it\n"
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_of_an_older_format_is_refused_in_python_too(tmp_path: Path) -> None:
    folder = create_run(load_config("demo"), "demo", tmp_path, None)
    folder.describe(format=1)
    for call in (lambda: api.prepare(folder), folder.config, lambda: read_run(folder.path)):
        with pytest.raises(UserError, match="must have format 2; start a new run"):
            call()
