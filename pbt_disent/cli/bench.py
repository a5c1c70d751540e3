"""Time pbt-disent beside every other way to do the same work, on this machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pbt_disent.cli.marks import check_marks, put_between_marks
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.types import Json

if TYPE_CHECKING:
    from rich.console import Console

    from pbt_disent.bench.case import Case

__all__ = ["add_arguments", "call"]

QUICK_SECONDS, FULL_SECONDS = 150.0, 3600.0
"""After so long a case is given up, so that one that hangs cannot keep the others waiting."""


class TooLong(PbtDisentError):
    """A case did not come to an end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names of cases (default: all; see --list)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller sets: minutes for all cases")
    parser.add_argument("--list", action="store_true", help="list the cases with their goals, and run none")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON to a file, too, after every case")
    parser.add_argument("--from", type=Path, dest="source", metavar="FILE", help="run nothing: show an --output again")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the tables between the marks in this file")
    parser.add_argument(
        "--scale", type=Path, metavar="FILE", help="put what a paper-sized run costs between the marks in this file"
    )
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="give a case up after so long")


def call(options: argparse.Namespace) -> int:
    """Run the cases one after another; the exit code is 1 if the sides of one do not agree, or it cannot run."""
    from pbt_disent.bench.case import CASES

    names = list(dict.fromkeys(options.cases)) or list(CASES)
    cases = {name: CASES[name] for name in names}
    if not options.list and options.source is None:
        names = _without_gpu(cases, asked=bool(options.cases))
    if options.list:
        for name, case in cases.items():
            print(f"{name:18} {case.summary}" + (f" (ratio {case.goal})" if case.goal else ""))
        return 0
    _check(options)
    results = _run(options, names) if options.source is None else _read(options.source)
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        _print(results)
    if options.into is not None:
        from pbt_disent.bench.table import markdown

        put_between_marks(options.into, "--into", "bench", markdown(results))
    if options.scale is not None:
        from pbt_disent.bench.scale import scale_page

        put_between_marks(options.scale, "--scale", "scale", scale_page(results))
    return 1 if any("error" in case for case in results["cases"]) else 0


def _without_gpu(cases: dict[str, Case], *, asked: bool) -> list[str]:
    """Return the names of the cases that this machine can run.

    Raises:
        UserError: one that cannot run was asked for.
    """
    from pbt_disent.tune.capacity import visible_gpus

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
    if options.limit is not None and not options.limit > 0:
        raise UserError(f"--limit {options.limit:g}", "must be above 0", "give seconds")
    for name, path, mark in (("--into", options.into, "bench"), ("--scale", options.scale, "scale")):
        if path is not None:
            check_marks(path, name, mark)


def _read(path: Path) -> Json:
    try:
        results: Json = json.loads(path.read_text(encoding="utf-8"))
        known = {"cases", "machine", "versions", "quick", "seconds"} <= results.keys()
    except (OSError, ValueError, AttributeError):
        known = False
    if not known:
        raise UserError(f"--from {path}", "must be what bench --output has written", "run the benchmark first")
    return results


def _run(options: argparse.Namespace, names: list[str]) -> Json:
    from pbt_disent.bench.conditions import machine, versions
    from pbt_disent.bench.runner import run_case
    from pbt_disent.store.files import write_atomically

    begun = time.monotonic()
    _say("measuring the machine")
    conditions = machine()
    limit = options.limit or (QUICK_SECONDS if options.quick else FULL_SECONDS)
    results: Json = {"cases": [], "quick": options.quick, "machine": conditions, "versions": versions()}
    for number, name in enumerate(names, start=1):
        title = f"[{number}/{len(names)}] {name}"
        try:
            with _limited(limit):
                finding = run_case(name, "quick" if options.quick else "full", partial(_say_of, title))
            results["cases"].append(finding.as_json())
        except Exception as error:  # whatever a case or another library raises, the other cases go on
            kind = "" if isinstance(error, PbtDisentError) else f"{type(error).__name__}: "
            reason = f"{kind}{' '.join(str(error).split())}"
            results["cases"].append({"case": name, "ratio": None, "spread": None, "error": reason})
            _say(f"{name} failed: {reason}")
        results["cases"].sort(key=lambda case: "error" in case)
        conditions["load_after"] = round(os.getloadavg()[0], 2)
        results["seconds"] = round(time.monotonic() - begun, 1)
        if options.output is not None:
            write_atomically(options.output, (json.dumps(results, indent=1) + "\n").encode())
    return results


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in the block when its time is up; in any thread but the first, Python knows no alarms."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"is not at its end after {seconds:g} s, and was given up")

    handler = signal.signal(signal.SIGALRM, give_up)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_of(title: str, text: str) -> None:
    _say(f"{title}: {text}")


def _print(results: Json) -> None:
    from rich.console import Console

    from pbt_disent.bench.table import conditions

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

    from pbt_disent.bench.table import cost_text, measure_text, spread_text

    table = Table("case", "ratio (quartiles)", "goal", "against", "ours", "peer")
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

    from pbt_disent.bench.table import cost_text, measure_text, spread_text

    table = Table("growth", "exponent (quartiles)", "should be", "of", "sizes", "costs")
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
