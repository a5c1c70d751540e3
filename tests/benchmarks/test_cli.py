"""The command: what it prints, writes and refuses."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pytest

from benchmarks import CASES
from benchmarks.case import (
    Case,
    Comparison,
    Disagreement,
    Goal,
    Implementation,
    Measurement,
    Scaling,
    ScalingImplementation,
    Setup,
    Unavailable,
)
from benchmarks.cli import main, run
from benchmarks.report import compare_runs
from benchmarks.runner import Session
from benchmarks.timing import timed
from pbt_disent.types import Json


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(setup: Setup) -> Comparison:
        return Comparison(
            timed("ours", lambda: sum(range(10))), [timed("theirs", lambda: sum(range(999)))], lambda: "equal sums", 3
        )

    def disagree(setup: Setup) -> Comparison:
        raise Disagreement("sums differ")

    def fail(setup: Setup) -> Comparison:
        raise ZeroDivisionError("nothing to\ndivide by")

    def hang(setup: Setup) -> Comparison:
        while True:
            time.sleep(0.01)

    def grow(setup: Setup) -> Scaling:
        ours, theirs = (
            ScalingImplementation("ours", lambda size: 2.0 * size),
            ScalingImplementation("theirs", lambda size: 3.0 * size**2, max_size=2),
        )
        return Scaling("things", (1, 2, 4), 1, ours, lambda: "equal", 1, [theirs])

    monkeypatch.setattr("benchmarks.machine.memory_copy_gigabytes", lambda: 9.5)
    list(CASES)
    for name, prepared in {"raising": fail, "hanging": hang, "growing": grow}.items():
        monkeypatch.setitem(CASES._entries, name, Case(f"{name} against others", prepared))
    monkeypatch.setitem(CASES._entries, "sums", Case("sums against longer ones", prepare, Goal(2)))
    monkeypatch.setitem(CASES._entries, "broken", Case("sums against others", disagree))


def test_json_has_the_ratio_the_machine_and_the_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "bench.json"
    assert main(["sums", "--quick", "--json", "--output", str(file)]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert json.loads(file.read_text()) == result
    (case,) = result["cases"]
    assert case["case"] == "sums"
    assert case["ratio"] > 0
    assert len(case["spread"]) == 2
    assert case["baseline"] == "theirs"
    assert case["goal"] == 2
    assert result["machine"]["cpus"] >= 1
    assert result["machine"]["matrix_gflops"] > 0
    assert result["versions"]["torch"]
    assert "[1/1] sums" in said.err


def test_the_table_names_peer_agreement_and_conditions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sums", "--quick"]) == 0
    out = capsys.readouterr().out
    for words in ("sums", "theirs", "equal sums", "at least 2", "GFLOP/s", "numpy"):
        assert words in out


def test_a_case_whose_implementations_disagree_fails_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broken", "sums", "--quick", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert [one["case"] for one in result["cases"]] == ["sums", "broken"]
    assert result["cases"][1]["ratio"] is None
    assert result["cases"][1]["error"] == "sums differ"


def test_list_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert "step-64" in out
    assert "checkpoint-write" in out
    assert "at most 1.3" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sumz"], "did you mean 'sums'?"),
        (["sums", "--output", "."], "must be a file, not a folder"),
        (["sums", "--limit", "0"], "--limit 0: must be above 0"),
        (["sums", "--sessions", "0"], "--sessions 0: must be at least 1"),
        (["sums", "--against", "pyproject.toml"], "must be what --output has written"),
        (["sums", "--into", "nowhere.md"], "must be a text file that can be read"),
        (["sums", "--scale", "pyproject.toml"], "must have the marks <!-- scale --> and <!-- /scale -->"),
        (["--from", "pyproject.toml"], "must be what --output has written"),
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
    arguments = ["sums", "broken", "growing", "--quick", "--output", str(output), "--into", str(readme)]
    assert main(arguments) == 1
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- bench -->\n`python -m benchmarks --quick` on ")
    assert text.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in text
    assert " s in all. python 3.11" in text
    assert "| `sums` | " in text
    assert "| at least 2 | theirs |" in text
    assert "| `growing` | 1 to 4 things | 1 | 1 | 8 s | theirs: 2.00 |" in text
    assert "- `broken` failed: sums differ" in text
    again = _write(tmp_path / "again.md", "bench")
    assert main(["--from", str(output), "--into", str(again), "--json"]) == 1
    assert again.read_text(encoding="utf-8") == text


def test_whatever_a_case_raises_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["raising", "hanging", "sums", "--quick", "--json", "--limit", "0.3"]) == 1
    result = json.loads(capsys.readouterr().out)
    errors = {one["case"]: one.get("error") for one in result["cases"]}
    assert errors == {
        "sums": None,
        "raising": "ZeroDivisionError: nothing to divide by",
        "hanging": "is not at its end after 0.3 s, and was given up",
    }


def test_the_output_is_written_after_every_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "bench.json"

    def die(setup: Setup) -> Comparison:
        raise KeyboardInterrupt

    monkeypatch.setitem(CASES._entries, "dying", Case("x against y", die))
    with pytest.raises(KeyboardInterrupt):
        run(
            argparse.Namespace(
                cases=["sums", "dying"], list=False, quick=True, json=True, output=output, source=None, into=None,
                scale=None, limit=None, sessions=None, against=None,
            )
        )  # fmt: skip
    assert [one["case"] for one in json.loads(output.read_text())["cases"]] == ["sums"]


def test_sessions_take_turns_and_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which alone knows the made-up cases."""
    output, order, ratios = tmp_path / "bench.json", [], iter((4.0, 9.0, 5.0, 5.0))

    def prepare(setup: Setup) -> Comparison:
        order.append("slow")
        assert setup.is_first_session == (not (setup.shared_folder / "made").exists())
        (setup.shared_folder / "made").touch()
        ratio = next(ratios)
        return Comparison(
            Implementation("ours", lambda: [1.0]),
            [Implementation("theirs", lambda: [ratio]), Unavailable("absent", "is not installed")],
            lambda: "equal",
            2,
            measurements=lambda medians: [Measurement("once", 7.0, "s")] if setup.is_first_session else [],
        )

    def once(setup: Setup) -> Comparison:
        order.append("once")
        return Comparison(
            Implementation("ours", lambda: [1.0]), [Implementation("theirs", lambda: [2.0])], lambda: "equal", 1
        )

    monkeypatch.setitem(CASES._entries, "slow", Case("slow against others", prepare, Goal(5)))
    monkeypatch.setitem(CASES._entries, "once", Case("once against others", once, max_sessions=1))
    monkeypatch.setattr(Session, "run_in_new_process", Session.run)
    assert main(["slow", "raising", "once", "growing", "--output", str(output)]) == 1
    said = capsys.readouterr()
    assert order == ["slow", "once", "slow", "slow", "slow"]
    assert "[session 3 of 4, 1/4] slow: round 2 of 2: theirs" in said.err
    assert said.err.count("raising failed") == 1
    results = json.loads(output.read_text())
    slow, single, growing, raising = results["cases"]
    assert (slow["ratio"], slow["met"], slow["sessions"], slow["ratio_by_session"]) == (
        5.0,
        True,
        4,
        [4.0, 9.0, 5.0, 5.0],
    )
    assert slow["spread"] == pytest.approx([3.1513, 9.5198], abs=1e-4)
    assert [line["baseline"] for line in slow["baselines"]] == ["theirs", "absent"]
    assert slow["measurements"][0]["value"] == 7.0
    assert (single["ratio"], single["sessions"]) == (2.0, 1)
    assert growing["scaling"]["curves"][0]["costs"] == [2.0, 4.0, 8.0]
    assert raising["error"]
    assert "Median of 4 sessions" in said.out
    assert main(["--from", str(output), "--against", str(output)]) == 1
    assert "| `slow` | 5 (3.15 to 9.52) | 5 (3.15 to 9.52) | +0.0% | yes |" in capsys.readouterr().out


def test_ratios_that_lie_apart_do_not_agree() -> None:
    def run(ratio: float, low: float, high: float) -> Json:
        return {"cases": [{"case": "a", "ratio": ratio, "spread": [low, high]}, {"case": "b", "ratio": None}]}

    text = compare_runs(run(2.0, 1.9, 2.1), run(2.5, 2.2, 2.6))
    assert "| `a` | 2 (1.9 to 2.1) | 2.5 (2.2 to 2.6) | +25.0% | no |" in text
    assert text.endswith("0 of 1 ratios agree within their spread.\n")
    assert "| -20.0% | no |" in compare_runs(run(2.5, 2.2, 2.6), run(2.0, 1.9, 2.1))


def test_the_cost_of_a_large_run_needs_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, page = tmp_path / "bench.json", _write(tmp_path / "scale.md", "scale")
    assert main(["sums", "--quick", "--output", str(output)]) == 0
    capsys.readouterr()
    assert main(["--from", str(output), "--scale", str(page)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "needs the cases checkpoint-write" in line
