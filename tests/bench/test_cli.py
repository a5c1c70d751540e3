"""The verb: what it prints, writes and refuses."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pytest

from pbt_disent.bench import CASES
from pbt_disent.bench.case import Case, Contest, Disagreement, Goal, Grower, Growth, Setting
from pbt_disent.bench.timing import timed
from pbt_disent.cli import main
from pbt_disent.cli.bench import call


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(setting: Setting) -> Contest:
        return Contest(
            timed("ours", lambda: sum(range(10))), [timed("theirs", lambda: sum(range(999)))], lambda: "equal sums", 3
        )

    def disagree(setting: Setting) -> Contest:
        raise Disagreement("sums differ")

    def fail(setting: Setting) -> Contest:
        raise ZeroDivisionError("nothing to\ndivide by")

    def hang(setting: Setting) -> Contest:
        while True:
            time.sleep(0.01)

    def grow(setting: Setting) -> Growth:
        ours, theirs = Grower("ours", lambda size: 2.0 * size), Grower("theirs", lambda size: 3.0 * size**2, most=2)
        return Growth("things", (1, 2, 4), 1, ours, lambda: "equal", 1, [theirs])

    monkeypatch.setattr("pbt_disent.bench.conditions.memory_gigabytes", lambda: 9.5)
    list(CASES)
    for name, prepared in {"raising": fail, "hanging": hang, "growing": grow}.items():
        monkeypatch.setitem(CASES._entries, name, Case(f"{name} against others", prepared))
    monkeypatch.setitem(CASES._entries, "sums", Case("sums against longer ones", prepare, Goal(2)))
    monkeypatch.setitem(CASES._entries, "broken", Case("sums against others", disagree))


def test_json_has_the_ratio_the_machine_and_the_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "bench.json"
    assert main(["bench", "sums", "--quick", "--json", "--output", str(file)]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert json.loads(file.read_text()) == result
    (case,) = result["cases"]
    assert case["case"] == "sums"
    assert case["ratio"] > 0
    assert len(case["spread"]) == 2
    assert case["peer"] == "theirs"
    assert case["goal"] == 2
    assert result["machine"]["cpus"] >= 1
    assert result["machine"]["matrix_gflops"] > 0
    assert result["versions"]["torch"]
    assert "[1/1] sums" in said.err


def test_the_table_names_peer_agreement_and_conditions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "sums", "--quick"]) == 0
    out = capsys.readouterr().out
    for words in ("sums", "theirs", "equal sums", "at least 2", "GFLOP/s", "numpy"):
        assert words in out


def test_a_case_whose_sides_disagree_fails_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "broken", "sums", "--quick", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert [one["case"] for one in result["cases"]] == ["sums", "broken"]
    assert result["cases"][1]["ratio"] is None
    assert result["cases"][1]["error"] == "sums differ"


def test_list_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    out = capsys.readouterr().out
    assert "step-64" in out
    assert "checkpoint-write" in out
    assert "at most 1.3" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bench", "sumz"], "did you mean 'sums'?"),
        (["bench", "sums", "--output", "."], "must be a file, not a folder"),
        (["bench", "sums", "--limit", "0"], "--limit 0: must be above 0"),
        (["bench", "sums", "--into", "nowhere.md"], "must be a text file that can be read"),
        (["bench", "sums", "--scale", "pyproject.toml"], "must have the marks <!-- scale --> and <!-- /scale -->"),
        (["bench", "--from", "pyproject.toml"], "must be what bench --output has written"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


def _write(path: Path, mark: str) -> Path:
    path.write_text(f"before\n<!-- {mark} -->\nold\n<!-- /{mark} -->\nafter\n", encoding="utf-8")
    return path


def test_the_tables_go_between_the_marks_and_can_be_made_again_from_the_output(tmp_path: Path) -> None:
    readme, output = _write(tmp_path / "README.md", "bench"), tmp_path / "bench.json"
    arguments = ["bench", "sums", "broken", "growing", "--quick", "--output", str(output), "--into", str(readme)]
    assert main(arguments) == 1
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- bench -->\n`pbt-disent bench --quick` on ")
    assert text.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in text
    assert " s in all. python 3.11" in text
    assert "| `sums` | " in text
    assert "| at least 2 | theirs |" in text
    assert "| `growing` | 1 to 4 things | 1 | 1 | 8 s | theirs: 2.00 |" in text
    assert "- `broken` failed: sums differ" in text
    again = _write(tmp_path / "again.md", "bench")
    assert main(["bench", "--from", str(output), "--into", str(again), "--json"]) == 1
    assert again.read_text(encoding="utf-8") == text


def test_whatever_a_case_raises_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "raising", "hanging", "sums", "--quick", "--json", "--limit", "0.3"]) == 1
    result = json.loads(capsys.readouterr().out)
    errors = {one["case"]: one.get("error") for one in result["cases"]}
    assert errors == {
        "sums": None,
        "raising": "ZeroDivisionError: nothing to divide by",
        "hanging": "is not at its end after 0.3 s, and was given up",
    }


def test_the_output_is_written_after_every_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "bench.json"

    def die(setting: Setting) -> Contest:
        raise KeyboardInterrupt

    monkeypatch.setitem(CASES._entries, "dying", Case("x against y", die))
    with pytest.raises(KeyboardInterrupt):
        call(
            argparse.Namespace(
                cases=["sums", "dying"], list=False, quick=True, json=True, output=output, source=None, into=None,
                scale=None, limit=None,
            )
        )  # fmt: skip
    assert [one["case"] for one in json.loads(output.read_text())["cases"]] == ["sums"]


def test_the_cost_of_a_large_run_needs_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, page = tmp_path / "bench.json", _write(tmp_path / "scale.md", "scale")
    assert main(["bench", "sums", "--quick", "--output", str(output)]) == 0
    capsys.readouterr()
    assert main(["bench", "--from", str(output), "--scale", str(page)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "needs the cases checkpoint-write" in line
