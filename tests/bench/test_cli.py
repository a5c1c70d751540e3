"""The verb: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pbt_disent.bench import CASES
from pbt_disent.bench.case import Case, Contest, Disagreement, Goal, Setting
from pbt_disent.bench.timing import timed
from pbt_disent.cli import main


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(setting: Setting) -> Contest:
        return Contest(
            timed("ours", lambda: sum(range(10))), [timed("theirs", lambda: sum(range(999)))], lambda: "equal sums", 3
        )

    def disagree(setting: Setting) -> Contest:
        raise Disagreement("sums differ")

    list(CASES)
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
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
