"""The results of a benchmark for readers: as Markdown for the documentation, and as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pbt_disent.types import Json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["compare_runs", "format_conditions", "format_results", "print_results"]


def format_results(results: Json) -> str:
    """Return the results of ``python -m benchmarks --json`` as Markdown: the ratios, then the exponents."""
    cases = results["cases"]
    comparisons = [row for case in cases if _is_comparison(case) for row in _comparison_rows(case)]
    scalings = [_scaling_row(case) for case in cases if "scaling" in case]
    failures = [f"- `{case['case']}` failed: {case['error']}" for case in cases if "error" in case]
    parts = [format_conditions(results)]
    if comparisons:
        parts.append(_markdown_table(("case", "ratio (spread)", "goal", "best baseline", "beside it"), comparisons))
    if scalings:
        parts.append(
            "Scaling: the exponent p of a cost that grows as size to the power p, beside the one that it should have. "
            "A fixed part makes it smaller."
        )
        header = ("case", "sizes", "exponent (spread)", "should be", "cost at the largest", "baselines")
        parts.append(_markdown_table(header, scalings))
    if failures:
        parts.append("\n".join(failures))
    return "\n\n".join(parts) + "\n"


def compare_runs(earlier: Json, later: Json) -> str:
    """Return the ratios of two runs side by side, as Markdown, and whether their spreads have a value in common."""
    earlier_cases = {case["case"]: case for case in earlier["cases"] if case["ratio"] is not None}
    rows, agreeing = [], 0
    for case in later["cases"]:
        before = earlier_cases.get(case["case"])
        if before is None or case["ratio"] is None:
            continue
        (low, high), (low_before, high_before) = case["spread"], before["spread"]
        agree = low <= high_before and low_before <= high
        agreeing += agree
        ratios = (_with_bounds(before["ratio"], low_before, high_before), _with_bounds(case["ratio"], low, high))
        change = f"{case['ratio'] / before['ratio'] - 1:+.1%}"
        rows.append((f"`{case['case']}`", *ratios, change, "yes" if agree else "no"))
    table = _markdown_table(("case", "earlier", "later", "change", "agree within their spread"), rows)
    return f"{table}\n\n{agreeing} of {len(rows)} ratios agree within their spread.\n"


def format_conditions(results: Json) -> str:
    """Return machine, versions, load and the kind of spread in a few sentences."""
    machine, versions = results["machine"], results["versions"]
    installed = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name, version in versions.items() if not version]
    command = "python -m benchmarks" + (" --quick" if results["quick"] else "")
    return (
        f"`{command}` on {machine['processor']}, {machine['cpus']} CPUs, "
        f"{machine['threads']} {'thread' if machine['threads'] == 1 else 'threads'}, "
        f"{', '.join(machine['gpus']) or 'no GPU'}; matrix product {machine['matrix_gflops']:g} GFLOP/s, memory "
        f"{machine['memory_gigabytes_per_second']:g} GB/s; load {machine['load_before']:g} before and "
        f"{machine['load_after']:g} after; {results['seconds']:,.0f} s in all. {installed}"
        + (f"; not installed: {', '.join(missing)}" if missing else "")
        + f". {_kind_of_spread(results)}"
    )


def print_results(results: Json) -> None:
    """Print the results as tables: every baseline, every measurement, and how well the implementations agree."""
    from rich.console import Console

    console = Console()
    console = console if console.is_terminal else Console(width=150)
    _print_comparisons(console, [case for case in results["cases"] if _is_comparison(case)])
    _print_scalings(console, [case for case in results["cases"] if "scaling" in case])
    for case in results["cases"]:
        if "error" in case:
            console.print(f"{case['case']} failed: {case['error']}", highlight=False, markup=False)
    console.print(format_conditions(results), highlight=False, markup=False)


def _print_comparisons(console: Console, cases: Sequence[Json]) -> None:
    from rich.table import Table

    table = Table("case", "ratio (spread)", "goal", "against", "ours", "baseline")
    for case in cases:
        ours = _format_cost(case["ours"]["median"], case["unit"])
        for number, row in enumerate(case["baselines"]):
            against = f"{row['baseline']} ({row['remark']})" if row["remark"] else row["baseline"]
            ratio = _format_spread(row["ratio"]) if row["ratio"] else ""
            cost = _format_cost(row["cost"]["median"], case["unit"]) if row["cost"] else ""
            name, goal, our_cost = (case["case"], case["goal_is"] or "", ours) if number == 0 else ("", "", "")
            table.add_row(name, ratio, goal, against, our_cost, cost)
        for text in (case["agreement"], *map(_format_measurement, case["measurements"])):
            table.add_row("", "", "", f"[dim]{text}[/dim]", "", "")
    if cases:
        console.print(table)


def _print_scalings(console: Console, cases: Sequence[Json]) -> None:
    from rich.table import Table

    table = Table("scaling", "exponent (spread)", "should be", "of", "sizes", "costs")
    for case in cases:
        scaling = case["scaling"]
        for number, curve in enumerate(scaling["curves"]):
            name, expected = (case["case"], f"{scaling['expected_exponent']:g}") if number == 0 else ("", "")
            sizes = ", ".join(f"{size:,}" for size in curve["sizes"]) + f" {scaling['dimension']}"
            costs = ", ".join(_format_cost(cost, case["unit"]) for cost in curve["costs"])
            table.add_row(name, _format_spread(curve["exponent"]), expected, curve["name"], sizes, costs)
        ratios = [f"{row['baseline']}: {row['ratio']['median']:.3g} times" for row in case["baselines"] if row["ratio"]]
        for text in (case["agreement"], *ratios, *map(_format_measurement, case["measurements"])):
            table.add_row("", "", "", f"[dim]{text}[/dim]", "", "")
    if cases:
        console.print(table)


def _is_comparison(case: Json) -> bool:
    return "error" not in case and "scaling" not in case


def _comparison_rows(case: Json) -> list[tuple[str, ...]]:
    """Return the row of the best baseline, and one for each baseline whose cost is computed from its description.

    Beside the ratio stand the measurements that have a goal, or the first one where none has.
    """
    timed = [row for row in case["baselines"] if row["ratio"] and not row["remark"]]
    computed = [row for row in case["baselines"] if row["ratio"] and row["remark"]]
    measurements = [row for row in case["measurements"] if row["goal_is"]] or case["measurements"][:1]
    ratio = _format_ratio(timed[0]["ratio"], case) if timed else "no baseline ran"
    return [
        (
            f"`{case['case']}`",
            ratio,
            case["goal_is"] or "",
            case["baseline"] or "",
            "; ".join(map(_format_measurement, measurements)),
        ),
        *(("", _format_ratio(row["ratio"], case), "", f"{row['baseline']} (computed)", "") for row in computed),
    ]


def _scaling_row(case: Json) -> tuple[str, ...]:
    scaling = case["scaling"]
    ours, *baselines = scaling["curves"]
    sizes = f"{ours['sizes'][0]:,} to {ours['sizes'][-1]:,} {scaling['dimension']}"
    cost = _format_cost(ours["costs"][-1], case["unit"])
    others = "; ".join(f"{curve['name']}: {curve['exponent']['median']:.2f}" for curve in baselines)
    exponent = {name: round(value, 2) + 0.0 for name, value in ours["exponent"].items()}
    expected = f"{scaling['expected_exponent']:g}"
    return (f"`{case['case']}`", sizes, _format_spread(exponent), expected, cost, others)


def _kind_of_spread(results: Json) -> str:
    sessions = {case["case"]: case.get("sessions", 1) for case in results["cases"] if "error" not in case}
    most = max(sessions.values(), default=1)
    if most == 1:
        return "Median and quartiles of the rounds."
    fewer = [f"`{name}`: {count}" for name, count in sessions.items() if count < most]
    exceptions = f" ({', '.join(fewer)})" if fewer else ""
    return f"Median of {most} sessions{exceptions} in processes of their own, and the 95 % interval of their mean."


def _format_ratio(ratio: Json, case: Json) -> str:
    return _format_spread(ratio) + (" of the baseline's cost" if case["ratio_of"] == "ours / baseline" else "")


def _format_spread(spread: Json) -> str:
    """Return a median with its bounds, where there are any."""
    if spread["samples"] <= 1:
        return f"{spread['median']:.3g}"
    return _with_bounds(spread["median"], spread["low"], spread["high"])


def _with_bounds(median: float, low: float, high: float) -> str:
    return f"{median:.3g} ({low:.3g} to {high:.3g})"


def _format_cost(cost: float, unit: str) -> str:
    """Return a cost in a unit that suits its size."""
    kind, _, item = unit.partition("/")
    if kind != "s":
        return f"{cost:,.0f} {unit}"
    for scale, name in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if cost * scale >= 1:
            return f"{cost * scale:.3g} {name}" + (f"/{item}" if item else "")
    return f"{cost:.3g} {unit}"


def _format_measurement(measurement: Json) -> str:
    """Return a figure with its name and its goal."""
    value = measurement["value"]
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    goal = f" (goal: {measurement['goal_is']})" if measurement["goal_is"] else ""
    return f"{measurement['name']}: {digits} {measurement['unit']}".rstrip() + goal


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
