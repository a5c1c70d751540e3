"""The results of a benchmark as Markdown, for the README: the ratios, then the curves."""

from __future__ import annotations

from collections.abc import Sequence

from pbt_disent.types import Json

__all__ = ["comparison", "conditions", "cost_text", "markdown", "measure_text", "spread_text"]


def markdown(results: Json) -> str:
    """Return what a reader of the README wants to know of the results of ``python -m benchmarks --json``."""
    cases = results["cases"]
    contests = [row for case in cases if "error" not in case and "growth" not in case for row in _contest(case)]
    growths = [_growth(case) for case in cases if "growth" in case]
    failed = [f"- `{case['case']}` failed: {case['error']}" for case in cases if "error" in case]
    parts = [conditions(results)]
    if contests:
        parts.append(_table(("case", "ratio (spread)", "goal", "best peer", "beside it"), contests))
    if growths:
        parts.append(
            "Growth: the exponent p of a cost that grows as size to the power p, beside the one that it should have. "
            "A fixed part makes it smaller."
        )
        head = ("case", "sizes", "exponent (spread)", "should be", "cost at the largest", "the other way's")
        parts.append(_table(head, growths))
    if failed:
        parts.append("\n".join(failed))
    return "\n\n".join(parts) + "\n"


def comparison(earlier: Json, later: Json) -> str:
    """Return the ratios of two runs side by side, as Markdown, and whether their spreads have a value in common."""
    before = {case["case"]: case for case in earlier["cases"] if case["ratio"] is not None}
    rows, agreeing = [], 0
    for case in later["cases"]:
        old = before.get(case["case"])
        if old is None or case["ratio"] is None:
            continue
        (low, high), (old_low, old_high) = case["spread"], old["spread"]
        agree = low <= old_high and old_low <= high
        agreeing += agree
        texts = (_with_bounds(old["ratio"], *old["spread"]), _with_bounds(case["ratio"], low, high))
        rows.append((f"`{case['case']}`", *texts, f"{case['ratio'] / old['ratio'] - 1:+.1%}", "yes" if agree else "no"))
    table = _table(("case", "earlier", "later", "change", "agree within their spread"), rows)
    return f"{table}\n\n{agreeing} of {len(rows)} ratios agree within their spread.\n"


def conditions(results: Json) -> str:
    """Return machine, versions, load and the kind of spread in a few sentences."""
    machine, versions = results["machine"], results["versions"]
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name, version in versions.items() if not version]
    command = "python -m benchmarks" + (" --quick" if results["quick"] else "")
    return (
        f"`{command}` on {machine['processor']}, {machine['cpus']} CPUs, "
        f"{machine['threads']} {'thread' if machine['threads'] == 1 else 'threads'}, "
        f"{', '.join(machine['gpus']) or 'no GPU'}; matrix product {machine['matrix_gflops']:g} GFLOP/s, memory "
        f"{machine['memory_gigabytes_per_second']:g} GB/s; load {machine['load_before']:g} before and "
        f"{machine['load_after']:g} after; {results['seconds']:,.0f} s in all. {known}"
        + (f"; not installed: {', '.join(missing)}" if missing else "")
        + f". {_kind_of_spread(results)}"
    )


def _kind_of_spread(results: Json) -> str:
    counts = {case["case"]: case.get("sessions", 1) for case in results["cases"] if "error" not in case}
    most = max(counts.values(), default=1)
    if most == 1:
        return "Median and quartiles of the rounds."
    fewer = [f"`{name}`: {count}" for name, count in counts.items() if count < most]
    others = f" ({', '.join(fewer)})" if fewer else ""
    return f"Median of {most} sessions{others} in processes of their own, and the 95 % interval of their mean."


def spread_text(spread: Json) -> str:
    """Return a median with its bounds, where there are any."""
    if spread["samples"] <= 1:
        return f"{spread['median']:.3g}"
    return _with_bounds(spread["median"], spread["low"], spread["high"])


def _with_bounds(median: float, low: float, high: float) -> str:
    return f"{median:.3g} ({low:.3g} to {high:.3g})"


def cost_text(cost: float, unit: str) -> str:
    """Return a cost in a unit that suits its size."""
    kind, _, per = unit.partition("/")
    if kind != "s":
        return f"{cost:,.0f} {unit}"
    for scale, name in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if cost * scale >= 1:
            return f"{cost * scale:.3g} {name}" + (f"/{per}" if per else "")
    return f"{cost:.3g} {unit}"


def measure_text(measure: Json) -> str:
    """Return a figure with its name and its goal."""
    goal = f" (goal: {measure['goal_is']})" if measure["goal_is"] else ""
    value = f"{measure['value']:,.0f}" if abs(measure["value"]) >= 1000 else f"{measure['value']:.4g}"
    return f"{measure['name']}: {value} {measure['unit']}".rstrip() + goal


def _contest(case: Json) -> list[tuple[str, ...]]:
    """Return the row of the best peer, and one for each peer whose cost is computed from its description.

    Beside the ratio stand the figures that have a goal, or the first one where none has.
    """
    ran = [line for line in case["peers"] if line["ratio"] and not line["remark"]]
    computed = [line for line in case["peers"] if line["ratio"] and line["remark"]]
    chosen = [one for one in case["measures"] if one["goal_is"]] or case["measures"][:1]
    beside = "; ".join(map(measure_text, chosen))
    ratio = _in_words(ran[0]["ratio"], case) if ran else "no peer ran"
    first = (f"`{case['case']}`", ratio, case["goal_is"] or "", case["peer"] or "", beside)
    return [first, *(("", _in_words(line["ratio"], case), "", f"{line['peer']} (computed)", "") for line in computed)]


def _in_words(ratio: Json, case: Json) -> str:
    return spread_text(ratio) + (" of the peer's cost" if case["ratio_of"] == "ours / peer" else "")


def _growth(case: Json) -> tuple[str, ...]:
    growth = case["growth"]
    ours, *others = growth["curves"]
    sizes = f"{ours['sizes'][0]:,} to {ours['sizes'][-1]:,} {growth['of']}"
    cost = cost_text(ours["costs"][-1], case["unit"])
    beside = "; ".join(f"{one['name']}: {one['exponent']['median']:.2f}" for one in others)
    exponent = {name: round(value, 2) + 0.0 for name, value in ours["exponent"].items()}
    return (f"`{case['case']}`", sizes, spread_text(exponent), f"{growth['should_be']:g}", cost, beside)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
