"""A run as tables on a terminal: its rounds, and the members of those that are under way."""

from __future__ import annotations

import statistics

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pbt_disent.cli.snapshot import Snapshot, WatchedFolder
from pbt_disent.metrics import Interval
from pbt_disent.population.fitness import Fitness
from pbt_disent.population.manifest import Manifest, MemberRecord
from pbt_disent.population.uncertainty import member_interval, score_text
from pbt_disent.units import duration

__all__ = ["draw", "headline"]

_SHOWN = 16
"""So many members are shown, the best ones of each round that is under way."""
_BAR = 12
_BLOCKS = "▁▂▃▄▅▆▇█"
_STYLES = {"starting": "yellow", "running": "green", "stopped": "red", "finished": "cyan"}


def draw(folder: WatchedFolder, snapshot: Snapshot) -> Group:
    """Return everything that `watch` shows of a moment."""
    parts: list[Table | Text] = [Text(headline(folder, snapshot), style=_STYLES[snapshot.state])]
    if snapshot.rounds:
        parts.append(_rounds(folder, snapshot))
    current = [path for path in snapshot.current if snapshot.rounds[path]]
    for path in current:
        shown = max(_SHOWN // len(current), 4)
        parts.append(_members(path, snapshot.rounds[path], snapshot.fitness[path], shown))
    return Group(*parts)


def headline(folder: WatchedFolder, snapshot: Snapshot) -> str:
    """Return one line: the run, its state, how long it took and may take."""
    data = (folder.run.description().get("data") or {}).get("name", folder.config.data.name)
    words = [f"{folder.run.name}: {snapshot.state}", f"{folder.config.method} on {data}"]
    if snapshot.spent.seconds >= 1:
        words.append(f"{duration(snapshot.spent.seconds)} so far")
    if snapshot.state == "running" and snapshot.left is not None:
        words.append(f"about {duration(snapshot.left)} left at most")
    if snapshot.state == "stopped":
        words.append(f"go on with: {folder.resume}")
    return ", ".join(words)


def _rounds(folder: WatchedFolder, snapshot: Snapshot) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("round", "images", "generation", "ranked by", "best", "median", "course", "state"):
        table.add_column(heading, justify="right" if heading in {"images", "generation", "best", "median"} else "left")
    for path, manifests in snapshot.rounds.items():
        longest = folder.generations(path)
        best, median = _figures(manifests, snapshot.fitness[path])
        table.add_row(
            path,
            f"{snapshot.num_images[path]:,}",
            f"{len(manifests)}/{longest}",
            snapshot.fitness[path].name.replace("_", "-"),
            best,
            median,
            _course(manifests),
            snapshot.ended.get(path, "").replace("_", " ") or _progress(folder, snapshot, path, manifests),
        )
    return table


def _figures(manifests: list[Manifest], fitness: Fitness) -> tuple[str, str]:
    scores = [record.score for record in manifests[-1].members if record.score is not None] if manifests else []
    if not scores:
        return "none", "none"
    interval = member_interval(manifests[-1], manifests[-1].best, fitness)
    return score_text(max(scores), interval), f"{statistics.median(scores):.3f}"


def _course(manifests: list[Manifest]) -> str:
    """Return the best score of each generation as small bars from 0 to the best of all."""
    best = [manifest.best.score or 0.0 if manifest.best else 0.0 for manifest in manifests[-20:]]
    top = max(best, default=0.0)
    return "".join(_BLOCKS[min(int(max(one, 0.0) / top * 8), 7)] if top > 0 else _BLOCKS[0] for one in best)


def _progress(folder: WatchedFolder, snapshot: Snapshot, path: str, manifests: list[Manifest]) -> str:
    if snapshot.state != "running" or path not in snapshot.current or len(manifests) >= folder.generations(path):
        return "not finished" if snapshot.state in {"stopped", "finished"} else ""
    paid = snapshot.spent.under_way.get(path, 0)
    if not manifests:
        return f"{paid:,} passes" if paid else "training"
    wanted = sum(record.image_passes for record in manifests[-1].members)
    return f"training, {min(paid / max(wanted, 1), 1):.0%}"


def _members(path: str, manifests: list[Manifest], fitness: Fitness, shown: int) -> Table:
    last = manifests[-1]
    ranked = sorted(last.members, key=lambda one: (one.score is None, -(one.score or 0.0), one.member))
    names = _searched(manifests)
    left = f", {len(ranked) - shown} more" if len(ranked) > shown else ""
    table = Table(
        box=None, pad_edge=False, title=f"round {path}, generation {last.generation + 1}{left}", title_justify="left"
    )
    intervals = {record.member: member_interval(last, record, fitness) for record in ranked[:shown]}
    sure = ["95 %"] if any(intervals.values()) else []
    for heading in ("member", fitness.name.replace("_", "-"), *sure, "", "from", *names, "next"):
        table.add_column(heading, justify="left" if heading in {"", "next", "from"} else "right")
    top = max((one.score or 0.0 for one in ranked), default=0.0)
    following = {one.member: one for one in last.next}
    for record in ranked[:shown]:
        plan = following.get(record.member)
        replaced = plan is not None and plan.operation != "continue"
        table.add_row(
            f"m{record.member:02d}",
            "none" if record.score is None else f"{record.score:.3f}",
            *([_ends(intervals[record.member])] if sure else []),
            "█" * round(_BAR * max(record.score or 0.0, 0.0) / top) if top > 0 else "",
            _origin(record),
            *(f"{record.hyperparameters[name]:.3g}" if name in record.hyperparameters else "" for name in names),
            f"replaced by {'a fresh start' if plan is None or plan.parent is None else f'm{plan.parent:02d}'}"
            if replaced
            else "",
        )
    return table


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"


def _origin(record: MemberRecord) -> str:
    if record.status != "ok":
        return record.status
    return "start" if record.parent is None else "" if record.parent == record.member else f"m{record.parent:02d}"


def _searched(manifests: list[Manifest]) -> list[str]:
    from pbt_disent.report.figures import searched

    return searched(manifests)
