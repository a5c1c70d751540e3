"""Time pbt-disent beside every other way to do the same work, on this machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.markers import check_markers, replace_between_markers
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.types import Json

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.case import Case, Size
    from benchmarks.finding import Finding

__all__ = ["build_parser", "main", "run"]

QUICK_SECONDS, FULL_SECONDS = 150.0, 3600.0
"""After so long a case is given up, so that one that hangs cannot keep the others waiting."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m benchmarks``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names of cases (default: all; see --list)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller sets: minutes for all cases")
    parser.add_argument("--list", action="store_true", help="list the cases with their goals, and run none")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON to a file, too, after every case")
    parser.add_argument("--from", type=Path, dest="source", metavar="FILE", help="run nothing: show an --output again")
    parser.add_argument("--against", type=Path, metavar="FILE", help="say which ratios agree with an earlier --output")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the tables between the marks in this file")
    parser.add_argument(
        "--scale", type=Path, metavar="FILE", help="put what a paper-sized run costs between the marks in this file"
    )
    parser.add_argument(
        "--sessions",
        type=int,
        metavar="N",
        help="run all cases so often, each time in new processes (default: 4; quick: 1)",
    )
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="give a case up after so long")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 (a case failed), 2 (bad input) or 130 (stopped)."""
    options = build_parser().parse_args(arguments)
    try:
        return run(options)
    except PbtDisentError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("benchmarks: stopped", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Run the cases one after another; the exit code is 1 if the sides of one do not agree, or it cannot run."""
    from benchmarks.case import CASES

    names = list(dict.fromkeys(options.cases)) or list(CASES)
    cases = {name: CASES[name] for name in names}
    if options.list:
        for name, case in cases.items():
            print(f"{name:18} {case.summary}" + (f" (ratio {case.goal})" if case.goal else ""))
        return 0
    _check(options)
    earlier = _read("--against", options.against) if options.against is not None else None
    if options.source is None:
        names = _without_gpu(cases, asked=bool(options.cases))
    results = _run(options, names) if options.source is None else _read("--from", options.source)
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        _print(results)
    if earlier is not None:
        from benchmarks.table import comparison

        print(comparison(earlier, results), end="", file=sys.stderr if options.json else sys.stdout)
    if options.into is not None:
        from benchmarks.table import markdown

        replace_between_markers(options.into, "--into", "bench", markdown(results))
    if options.scale is not None:
        from benchmarks.scale import scale_page

        replace_between_markers(options.scale, "--scale", "scale", scale_page(results))
    return 1 if any("error" in case for case in results["cases"]) else 0


def _without_gpu(cases: dict[str, Case], *, asked: bool) -> list[str]:
    """Return the names of the cases that this machine can run.

    Raises:
        UserError: one that cannot run was asked for.
    """
    from pbt_disent.machine import visible_gpus

    missing = [] if visible_gpus() else [name for name, case in cases.items() if case.gpu]
    if missing and asked:
        raise UserError(f"case {missing[0]}", "needs a GPU", "run it where there is one")
    if missing:
        _say(f"not run, for want of a GPU: {', '.join(missing)}")
    return [name for name in cases if name not in missing]


def _check(options: argparse.Namespace) -> None:
    """Refuse what would only fail after the work."""
    if options.output is not None and options.output.is_dir():
        raise UserError(f"--output {options.output}", "must be a file, not a folder", "add a file name")
    if options.sessions is not None and options.sessions < 1:
        raise UserError(f"--sessions {options.sessions}", "must be at least 1", "leave it out for the default")
    if options.limit is not None and not options.limit > 0:
        raise UserError(f"--limit {options.limit:g}", "must be above 0", "give seconds")
    for name, path, mark in (("--into", options.into, "bench"), ("--scale", options.scale, "scale")):
        if path is not None:
            check_markers(path, name, mark)


def _read(name: str, path: Path) -> Json:
    try:
        results: Json = json.loads(path.read_text(encoding="utf-8"))
        known = {"cases", "machine", "versions", "quick", "seconds"} <= results.keys()
    except (OSError, ValueError, AttributeError):
        known = False
    if not known:
        raise UserError(f"{name} {path}", "must be what --output has written", "run the benchmark first")
    return results


def _run(options: argparse.Namespace, names: list[str]) -> Json:
    """Run every case once in each session, and write what is known after each of them."""
    from benchmarks.case import CASES
    from benchmarks.conditions import machine, versions
    from benchmarks.sessions import SESSIONS, Session, reason_of
    from pbt_disent.files import write_atomically

    begun = time.monotonic()
    _say("measuring the machine")
    limit = options.limit or (QUICK_SECONDS if options.quick else FULL_SECONDS)
    sessions = options.sessions or (1 if options.quick else SESSIONS)
    results: Json = {"cases": [], "quick": options.quick}
    results |= {"machine": machine(), "versions": versions()}
    findings: dict[str, list[Finding]] = {name: [] for name in names}
    errors: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="pbt-disent-bench-") as folder:
        for number, (place, name) in product(range(sessions), enumerate(names, start=1)):
            most = CASES[name].most_sessions
            if name in errors or (most is not None and number >= most):
                continue
            part = f"session {number + 1} of {sessions}, " if sessions > 1 else ""
            say = partial(_say_of, f"[{part}{place}/{len(names)}] {name}")
            size: Size = "quick" if options.quick else "full"
            session = Session(name, size, Path(folder) / name, number == 0, limit)
            try:
                findings[name].append(session.apart(say) if sessions > 1 else session.here(say))
            except Exception as error:  # whatever a case or another library raises, the other cases go on
                errors[name] = reason_of(error)
                _say(f"{name} failed: {errors[name]}")
            _update(results, findings, errors, time.monotonic() - begun)
            if options.output is not None:
                write_atomically(options.output, (json.dumps(results, indent=1) + "\n").encode())
    return results


def _update(results: Json, findings: dict[str, list[Finding]], errors: dict[str, str], seconds: float) -> None:
    from benchmarks.finding import merged

    done = [merged(found).as_json() for name, found in findings.items() if found and name not in errors]
    failed = [{"case": name, "ratio": None, "spread": None, "error": reason} for name, reason in errors.items()]
    results["cases"] = done + failed
    results["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    results["seconds"] = round(seconds, 1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_of(title: str, text: str) -> None:
    _say(f"{title}: {text}")


def _print(results: Json) -> None:
    from rich.console import Console

    from benchmarks.table import conditions

    console = Console()
    console = console if console.is_terminal else Console(width=150)
    cases = [case for case in results["cases"] if "error" not in case]
    _print_contests(console, [case for case in cases if "growth" not in case])
    _print_growths(console, [case for case in cases if "growth" in case])
    for case in results["cases"]:
        if "error" in case:
            console.print(f"{case['case']} failed: {case['error']}", highlight=False, markup=False)
    console.print(conditions(results), highlight=False, markup=False)


def _print_contests(console: Console, cases: list[Json]) -> None:
    from rich.table import Table

    from benchmarks.table import cost_text, measure_text, spread_text

    table = Table("case", "ratio (spread)", "goal", "against", "ours", "peer")
    for case in cases:
        ours = cost_text(case["ours"]["median"], case["unit"])
        for number, line in enumerate(case["peers"]):
            peer = f"{line['peer']} ({line['remark']})" if line["remark"] else line["peer"]
            theirs = cost_text(line["cost"]["median"], case["unit"]) if line["cost"] else ""
            first = (case["case"], case["goal_is"] or "", ours) if number == 0 else ("", "", "")
            table.add_row(
                first[0], spread_text(line["ratio"]) if line["ratio"] else "", first[1], peer, first[2], theirs
            )
        for text in (case["agreement"], *map(measure_text, case["measures"])):
            table.add_row("", "", "", f"[dim]{text}[/dim]", "", "")
    if cases:
        console.print(table)


def _print_growths(console: Console, cases: list[Json]) -> None:
    from rich.table import Table

    from benchmarks.table import cost_text, measure_text, spread_text

    table = Table("growth", "exponent (spread)", "should be", "of", "sizes", "costs")
    for case in cases:
        growth = case["growth"]
        for number, curve in enumerate(growth["curves"]):
            first = (case["case"], f"{growth['should_be']:g}") if number == 0 else ("", "")
            sizes = ", ".join(f"{size:,}" for size in curve["sizes"]) + f" {growth['of']}"
            costs = ", ".join(cost_text(cost, case["unit"]) for cost in curve["costs"])
            table.add_row(first[0], spread_text(curve["exponent"]), first[1], curve["name"], sizes, costs)
        others = [f"{line['peer']}: {line['ratio']['median']:.3g} times" for line in case["peers"] if line["ratio"]]
        for text in (case["agreement"], *others, *map(measure_text, case["measures"])):
            table.add_row("", "", "", f"[dim]{text}[/dim]", "", "")
    if cases:
        console.print(table)
