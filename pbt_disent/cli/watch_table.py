"""A run as tables on a terminal: its rounds, and the members of those that are under way."""

from __future__ import annotations

import statistics

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pbt_disent.cli.snapshot import Snapshot, WatchedFolder
from pbt_disent.metrics import Interval
from pbt_disent.population.fitness import Fitness
from pbt_disent.population.manifest import Manifest, MemberRecord, member_interval, score_text
from pbt_disent.units import duration

__all__ = ["draw", "headline"]

MOST_MEMBERS = 16
"""The number of members that are shown, over all rounds that are under way; the best ones of each."""
FEWEST_MEMBERS = 4
"""The number of members of a round that are shown even if many rounds are under way."""
BAR_WIDTH = 12
BLOCKS = "▁▂▃▄▅▆▇█"
STYLES = {"starting": "yellow", "running": "green", "stopped": "red", "finished": "cyan"}


def draw(folder: WatchedFolder, snapshot: Snapshot) -> Group:
    """Return all that `watch` shows of a moment."""
    parts: list[Table | Text] = [Text(headline(folder, snapshot), style=STYLES[snapshot.state])]
    if snapshot.rounds:
        parts.append(_rounds_table(folder, snapshot))
    paths = [path for path in snapshot.current if snapshot.rounds[path]]
    for path in paths:
        count = max(MOST_MEMBERS // len(paths), FEWEST_MEMBERS)
        parts.append(_members_table(path, snapshot.rounds[path], snapshot.fitness[path], count))
    return Group(*parts)


def headline(folder: WatchedFolder, snapshot: Snapshot) -> str:
    """Return one line: the run, its state, how long it took and may take."""
    data = (folder.run.description().get("data") or {}).get("name", folder.config.data.name)
    parts = [f"{folder.run.name}: {snapshot.state}", f"{folder.config.method} on {data}"]
    if snapshot.usage.seconds >= 1:
        parts.append(f"{duration(snapshot.usage.seconds)} so far")
    if snapshot.state == "running" and snapshot.seconds_left is not None:
        parts.append(f"about {duration(snapshot.seconds_left)} left at most")
    if snapshot.state == "stopped":
        parts.append(f"go on with: {folder.resume}")
    return ", ".join(parts)


def _rounds_table(folder: WatchedFolder, snapshot: Snapshot) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("round", "images", "generation", "ranked by", "best", "median", "course", "state"):
        table.add_column(heading, justify="right" if heading in {"images", "generation", "best", "median"} else "left")
    for path, manifests in snapshot.rounds.items():
        best, median = _best_and_median(manifests, snapshot.fitness[path])
        table.add_row(
            path,
            f"{snapshot.num_images[path]:,}",
            f"{len(manifests)}/{folder.max_generations(path)}",
            snapshot.fitness[path].name.replace("_", "-"),
            best,
            median,
            _sparkline(manifests),
            snapshot.ended.get(path, "").replace("_", " ") or _round_state(folder, snapshot, path, manifests),
        )
    return table


def _best_and_median(manifests: list[Manifest], fitness: Fitness) -> tuple[str, str]:
    scores = [record.score for record in manifests[-1].members if record.score is not None] if manifests else []
    if not scores:
        return "none", "none"
    interval = member_interval(manifests[-1], manifests[-1].best, fitness)
    return score_text(max(scores), interval), f"{statistics.median(scores):.3f}"


def _sparkline(manifests: list[Manifest]) -> str:
    """Return the best score of each of the last generations as small bars, from 0 to the best of all."""
    scores = [manifest.best.score or 0.0 if manifest.best else 0.0 for manifest in manifests[-20:]]
    top = max(scores, default=0.0)
    return "".join(BLOCKS[min(int(max(score, 0.0) / top * 8), 7)] if top > 0 else BLOCKS[0] for score in scores)


def _round_state(folder: WatchedFolder, snapshot: Snapshot, path: str, manifests: list[Manifest]) -> str:
    if snapshot.state != "running" or path not in snapshot.current or len(manifests) >= folder.max_generations(path):
        return "not finished" if snapshot.state in {"stopped", "finished"} else ""
    paid = snapshot.usage.current.get(path, 0)
    if not manifests:
        return f"{paid:,} passes" if paid else "training"
    expected = sum(record.image_passes for record in manifests[-1].members)
    return f"training, {min(paid / max(expected, 1), 1):.0%}"


def _members_table(path: str, manifests: list[Manifest], fitness: Fitness, count: int) -> Table:
    from pbt_disent.report.figures import searched_hyperparameters

    last = manifests[-1]
    ranked = sorted(last.members, key=lambda record: (record.score is None, -(record.score or 0.0), record.member))
    names = searched_hyperparameters(manifests)
    more = f", {len(ranked) - count} more" if len(ranked) > count else ""
    table = Table(
        box=None, pad_edge=False, title=f"round {path}, generation {last.generation + 1}{more}", title_justify="left"
    )
    intervals = {record.member: member_interval(last, record, fitness) for record in ranked[:count]}
    interval_heading = ["95 %"] if any(intervals.values()) else []
    for heading in ("member", fitness.name.replace("_", "-"), *interval_heading, "", "from", *names, "next"):
        table.add_column(heading, justify="left" if heading in {"", "next", "from"} else "right")
    top = max((record.score or 0.0 for record in ranked), default=0.0)
    for record in ranked[:count]:
        table.add_row(
            f"m{record.member:02d}",
            "none" if record.score is None else f"{record.score:.3f}",
            *([_ends(intervals[record.member])] if interval_heading else []),
            "█" * round(BAR_WIDTH * max(record.score or 0.0, 0.0) / top) if top > 0 else "",
            _origin(record),
            *(f"{record.hyperparameters[name]:.3g}" if name in record.hyperparameters else "" for name in names),
            _replacement(last, record.member),
        )
    return table


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"


def _origin(record: MemberRecord) -> str:
    """Return where a member of a generation comes from, or why it has no score."""
    if record.status != "ok":
        return record.status
    return "start" if record.parent is None else "" if record.parent == record.member else f"m{record.parent:02d}"


def _replacement(manifest: Manifest, member: int) -> str:
    """Return what replaces a member in the next generation; empty if it goes on."""
    plan = next((entry for entry in manifest.next if entry.member == member), None)
    if plan is None or plan.operation == "continue":
        return ""
    return "replaced by " + ("a fresh start" if plan.parent is None else f"m{plan.parent:02d}")
