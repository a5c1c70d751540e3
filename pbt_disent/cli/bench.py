"""Time pbt-disent beside every other way to do the same work, on this machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.types import Json

if TYPE_CHECKING:
    from pbt_disent.bench.case import Measure
    from pbt_disent.bench.runner import Finding
    from pbt_disent.bench.timing import Spread

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names of cases (default: all; see --list)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller sets: minutes for all cases")
    parser.add_argument("--list", action="store_true", help="list the cases with their goals, and run none")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON to a file, too")


def call(options: argparse.Namespace) -> int:
    """Run the cases one after another; the exit code is 1 if the sides of one do not agree, or it cannot run."""
    from pbt_disent.bench.case import CASES

    names = list(dict.fromkeys(options.cases)) or list(CASES)
    cases = {name: CASES[name] for name in names}
    if options.list:
        for name, case in cases.items():
            print(f"{name:18} {case.summary}" + (f" (ratio {case.goal})" if case.goal else ""))
        return 0
    if options.output is not None and options.output.is_dir():
        raise UserError(f"--output {options.output}", "must be a file, not a folder", "add a file name")
    return _run(options, names)


def _run(options: argparse.Namespace, names: list[str]) -> int:
    from pbt_disent.bench.conditions import machine, versions
    from pbt_disent.bench.runner import run_case

    _say("measuring the machine")
    conditions = machine()
    findings: list[Finding] = []
    failures: list[tuple[str, str]] = []
    for number, name in enumerate(names, start=1):
        title = f"[{number}/{len(names)}] {name}"
        try:
            findings.append(run_case(name, "quick" if options.quick else "full", partial(_say_of, title)))
        except PbtDisentError as error:
            failures.append((name, str(error)))
            _say(f"{name} failed: {error}")
    results: Json = {
        "cases": [
            *(one.as_json() for one in findings),
            *({"case": name, "ratio": None, "spread": None, "error": error} for name, error in failures),
        ],
        "quick": options.quick,
        "machine": {**conditions, "load_after": round(os.getloadavg()[0], 2)},
        "versions": versions(),
    }
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        _print(findings, failures, results)
    return 1 if failures else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_of(title: str, text: str) -> None:
    _say(f"{title}: {text}")


def _print(findings: list[Finding], failures: list[tuple[str, str]], results: Json) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("case", "ratio", "quartiles", "goal", "against", "ours", "peer")
    for one in findings:
        goal = "" if one.goal is None else str(one.goal)
        for number, line in enumerate(one.lines):
            head = (one.case, goal) if number == 0 else ("", "")
            cells = ("", "") if line.ratio is None else (f"{line.ratio.median:.3g}", _quartiles(line.ratio))
            ours = _cost(one.ours, one.unit) if number == 0 else ""
            table.add_row(
                head[0], *cells, head[1], f"{line.peer} ({line.remark})" if line.remark else line.peer, ours,
                _cost(line.cost, one.unit) if line.cost else "",
            )  # fmt: skip
        table.add_row("", "", "", "", f"[dim]{one.agreement}[/dim]", "", "")
        for measure in one.measures:
            table.add_row("", "", "", "", f"[dim]{_measure(measure)}[/dim]", "", "")
    console = Console()
    console = console if console.is_terminal else Console(width=150)
    console.print(table)
    for name, error in failures:
        console.print(f"{name} failed: {error}", highlight=False)
    machine, known = results["machine"], results["versions"]
    console.print(
        f"{machine['processor']}, {machine['cpus']} CPUs, {machine['threads']} threads; matrix product "
        f"{machine['matrix_gflops']:g} GFLOP/s, memory {machine['memory_gigabytes_per_second']:g} GB/s; load "
        f"{machine['load_before']:g} before, {machine['load_after']:g} after",
        highlight=False,
    )
    console.print(", ".join(f"{name} {version or 'not installed'}" for name, version in known.items()), highlight=False)


def _quartiles(spread: Spread) -> str:
    if spread.samples > 1:
        return f"{spread.low:.3g} to {spread.high:.3g}"
    return "one round" if spread.samples else ""


def _cost(spread: Spread, unit: str) -> str:
    kind, _, per = unit.partition("/")
    if kind != "s":
        return f"{spread.median:,.0f} {unit}"
    for scale, name in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if spread.median * scale >= 1:
            return f"{spread.median * scale:.3g} {name}" + (f"/{per}" if per else "")
    return f"{spread.median:.3g} {unit}"


def _measure(measure: Measure) -> str:
    goal = "" if measure.goal is None else f" (goal: {measure.goal})"
    return f"{measure.name}: {measure.value:,.4g} {measure.unit}{goal}"
