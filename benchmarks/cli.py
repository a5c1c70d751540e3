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

from benchmarks.command import check_section, exit_code_of, replace_section
from pbt_disent.errors import UserError
from pbt_disent.types import Json

if TYPE_CHECKING:
    from benchmarks.case import Case
    from benchmarks.results import CaseResult

__all__ = ["build_parser", "main", "run"]

QUICK_LIMIT, FULL_LIMIT = 150.0, 3600.0
"""The seconds after which a case is given up, so that one that hangs cannot keep the others waiting."""
EXAMPLES = """\
examples:
  python -m benchmarks --quick                                         every case once, in minutes
  python -m benchmarks udr step-64                                     some cases, four times
  python -m benchmarks --from runs/bench.json --against old.json       compare two earlier runs
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m benchmarks``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names of cases (default: all; see --list)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller sets: minutes for all cases")
    parser.add_argument("--list", action="store_true", help="list the cases with their goals, and run none")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the JSON to a file, after every case")
    parser.add_argument("--from", type=Path, dest="source", metavar="FILE", help="run nothing: show an --output again")
    parser.add_argument("--against", type=Path, metavar="FILE", help="show which ratios agree with an earlier --output")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the tables between the marks in this page")
    parser.add_argument(
        "--scale", type=Path, metavar="FILE", help="put the cost of a paper-sized run between the marks in this page"
    )
    parser.add_argument(
        "--sessions",
        type=int,
        metavar="N",
        help="the times that all cases are run, each in new processes (default: 4; quick: 1)",
    )
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="the time after which a case is given up")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 (a case failed), 2 (bad input) or 130 (stopped)."""
    options = build_parser().parse_args(arguments)
    return exit_code_of("benchmarks", lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Run the cases one after another, or show an earlier run; return 1 if a case failed."""
    from benchmarks.case import CASES
    from benchmarks.report import compare_runs, format_results, print_results

    names = list(dict.fromkeys(options.cases)) or list(CASES)
    cases = {name: CASES[name] for name in names}
    if options.list:
        for name, case in cases.items():
            print(f"{name:18} {case.summary}" + (f" (ratio {case.goal})" if case.goal else ""))
        return 0
    _check_options(options)
    earlier = _read_results("--against", options.against) if options.against is not None else None
    if options.source is None:
        results = _run_cases(options, _runnable(cases, chosen=bool(options.cases)))
    else:
        results = _read_results("--from", options.source)
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        print_results(results)
    if earlier is not None:
        print(compare_runs(earlier, results), end="", file=sys.stderr if options.json else sys.stdout)
    if options.into is not None:
        replace_section(options.into, "--into", "bench", format_results(results))
    if options.scale is not None:
        from benchmarks.scale import format_scale

        replace_section(options.scale, "--scale", "scale", format_scale(results))
    return 1 if any("error" in case for case in results["cases"]) else 0


def _check_options(options: argparse.Namespace) -> None:
    """Refuse what would only fail after the work."""
    if options.output is not None and options.output.is_dir():
        raise UserError(f"--output {options.output}", "must be a file, not a folder", "add a file name")
    if options.sessions is not None and options.sessions < 1:
        raise UserError(f"--sessions {options.sessions}", "must be at least 1", "leave it out for the default")
    if options.limit is not None and not options.limit > 0:
        raise UserError(f"--limit {options.limit:g}", "must be above 0", "give seconds")
    for option, page, section in (("--into", options.into, "bench"), ("--scale", options.scale, "scale")):
        if page is not None:
            check_section(page, option, section)


def _runnable(cases: dict[str, Case], *, chosen: bool) -> list[str]:
    """Return the names of the cases that this machine can run.

    Args:
        cases: The cases by name.
        chosen: Whether the user asked for each of them.

    Raises:
        UserError: A chosen case cannot run.
    """
    from pbt_disent.machine import visible_gpus

    missing = [] if visible_gpus() else [name for name, case in cases.items() if case.needs_gpu]
    if missing and chosen:
        raise UserError(f"case {missing[0]}", "needs a GPU", "run it where there is one")
    if missing:
        _log(f"not run, for want of a GPU: {', '.join(missing)}")
    return [name for name in cases if name not in missing]


def _read_results(option: str, path: Path) -> Json:
    try:
        results: Json = json.loads(path.read_text(encoding="utf-8"))
        complete = {"cases", "machine", "versions", "quick", "seconds"} <= results.keys()
    except (OSError, ValueError, AttributeError):
        complete = False
    if not complete:
        raise UserError(f"{option} {path}", "must be what --output has written", "run the benchmark first")
    return results


def _run_cases(options: argparse.Namespace, names: list[str]) -> Json:
    """Run every case once in each session, and write the results so far after each of them."""
    from benchmarks.case import CASES
    from benchmarks.machine import describe_machine, package_versions
    from benchmarks.runner import SESSIONS, Session, describe_error
    from pbt_disent.files import write_atomically

    start = time.monotonic()
    _log("measuring the machine")
    time_limit = options.limit or (QUICK_LIMIT if options.quick else FULL_LIMIT)
    sessions = options.sessions or (1 if options.quick else SESSIONS)
    results: Json = {"cases": [], "quick": options.quick}
    results |= {"machine": describe_machine(), "versions": package_versions()}
    by_case: dict[str, list[CaseResult]] = {name: [] for name in names}
    errors: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="pbt-disent-bench-") as folder:
        for number, (position, name) in product(range(sessions), enumerate(names, start=1)):
            max_sessions = CASES[name].max_sessions
            if name in errors or (max_sessions is not None and number >= max_sessions):
                continue
            which = f"session {number + 1} of {sessions}, " if sessions > 1 else ""
            log = partial(_log_with_title, f"[{which}{position}/{len(names)}] {name}")
            session = Session(name, "quick" if options.quick else "full", Path(folder) / name, number == 0, time_limit)
            try:
                by_case[name].append(session.run_in_new_process(log) if sessions > 1 else session.run(log))
            except Exception as error:  # whatever a case or another library raises, the other cases go on
                errors[name] = describe_error(error)
                _log(f"{name} failed: {errors[name]}")
            _update_results(results, by_case, errors, time.monotonic() - start)
            if options.output is not None:
                write_atomically(options.output, (json.dumps(results, indent=1) + "\n").encode())
    return results


def _update_results(
    results: Json, by_case: dict[str, list[CaseResult]], errors: dict[str, str], seconds: float
) -> None:
    from benchmarks.results import merge_sessions

    done = [merge_sessions(runs).as_json() for name, runs in by_case.items() if runs and name not in errors]
    failed = [{"case": name, "ratio": None, "spread": None, "error": reason} for name, reason in errors.items()]
    results["cases"] = done + failed
    results["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    results["seconds"] = round(seconds, 1)


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _log_with_title(title: str, text: str) -> None:
    _log(f"{title}: {text}")
