"""What the spool says of a run: events as plain records that hold all that MLflow is told, names included.

A record can be sent on its own, at any time, by a process that knows nothing else of the run. Metrics are per
generation; tags hold the latest state; params what never changes while a round lasts.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict

from pbt_disent.metrics import interval_ends
from pbt_disent.population.events import RoundStarted
from pbt_disent.population.manifest import Manifest, MemberRecord
from pbt_disent.population.uncertainty import member_interval
from pbt_disent.types import Hyperparameters, Json

__all__ = [
    "closed_record",
    "files_record",
    "finished_record",
    "generation_record",
    "member_name",
    "model_record",
    "moving_names",
    "run_record",
    "trace",
]


def member_name(member: int) -> str:
    """Return the name of a member slot, which sorts as its number does."""
    return f"m{member:02d}"


def run_record(
    time: int, uid: str, *, name: str, experiment: str, store: str, tags: Mapping[str, str], data: Json | None
) -> Json:
    """Name the run; the first record of every spool.

    Args:
        time: milliseconds since 1970.
        uid: a name that no other run has.
        name: of the run, for people.
        experiment: MLflow's name for the runs of one data set.
        store: label of the store that the run is recorded in.
        tags: put on every round.
        data: ``name``, ``fingerprint``, ``shape`` and ``images`` of the data set.
    """
    content = {"uid": uid, "name": name, "experiment": experiment, "store": store, "tags": dict(tags), "data": data}
    return {"key": "run", "kind": "run", "time": time, **content}


def trace(origins: Mapping[int, str], manifest: Manifest) -> dict[int, str]:
    """Return the founder that each member's weights come from, given those of the generation before."""
    return {
        record.member: member_name(record.member) + (f"@{manifest.generation}" if manifest.generation else "")
        if record.parent is None
        else origins.get(record.parent, member_name(record.parent))
        for record in manifest.members
    }


def generation_record(
    time: int,
    manifest: Manifest,
    started: RoundStarted | None,
    origins: Mapping[int, str],
    threshold: float,
    *,
    load: Mapping[str, float] | None = None,
    moving: Set[str] | None = None,
) -> Json:
    """Describe a committed generation.

    Args:
        time: milliseconds since 1970, the timestamp of every metric.
        manifest: the generation.
        started: what is known of its round.
        origins: the founder of each member.
        threshold: nats above which a latent counts as learned.
        load: how busy the machine was, by MLflow's names.
        moving: the hyperparameters that differ between members or change with time; all by default. They are metrics,
            and the others params.
    """
    ranked = sorted((m for m in manifest.members if m.score is not None), key=lambda m: (-(m.score or 0.0), m.member))
    ranks = {record.member: place for place, record in enumerate(ranked, start=1)}
    facts = {} if started is None else asdict(started)
    return {
        "key": f"generation:{manifest.round}:{manifest.identity}:{manifest.generation}",
        "kind": "generation",
        "time": time,
        "path": manifest.round,
        "identity": manifest.identity,
        "generation": manifest.generation,
        "data": None if manifest.data is None else manifest.data.model_dump(),
        "params": {name: facts[name] for name in ("members", "replicas", "images", "images_per_generation") if facts},
        "fitness": facts.get("fitness", "score"),
        "metrics": _population_metrics(manifest) | {name: v for name, v in (load or {}).items() if math.isfinite(v)},
        "best": manifest.best.member if manifest.best else None,
        "interval": interval_ends(member_interval(manifest, manifest.best, facts.get("fitness", "score"))),
        "members": [
            {
                "member": record.member,
                "metrics": _member_metrics(record, ranks.get(record.member), threshold, moving),
                "params": _starts(record, moving) if manifest.generation == 0 else {},
                "tags": _member_tags(record, ranks.get(record.member), origins[record.member], len(manifest.members)),
            }
            for record in manifest.members
        ],
    }


def finished_record(time: int, manifest: Manifest, reason: str, summary: Json, fitness: str = "score") -> Json:
    """Describe the end of a round, which ranks by `fitness`, behind its last generation."""
    return {
        "key": f"finished:{manifest.round}:{manifest.identity}:{manifest.generation}:{reason}",
        "kind": "finished",
        "time": time,
        "path": manifest.round,
        "identity": manifest.identity,
        "generation": manifest.generation,
        "reason": reason,
        "fitness": fitness,
        "summary": {name: value for name, value in summary.items() if isinstance(value, str | int | float)},
    }


def files_record(time: int, path: str, identity: str, files: Sequence[tuple[str, str]]) -> Json:
    """Name files of the run folder that belong to a round, each with the artifact folder it goes to."""
    return {
        "key": f"files:{path}:{identity}:{time}",
        "kind": "files",
        "time": time,
        "path": path,
        "identity": identity,
        "files": [list(pair) for pair in files],
    }


def model_record(time: int, path: str, identity: str, generation: int, register: str | None = None) -> Json:
    """Say that the run's model, as it lies in the run folder, is the best of a round.

    Args:
        time: milliseconds since 1970.
        path: of the round.
        identity: of the round.
        generation: its last one.
        register: name in the registry, if it is to be there.
    """
    return {
        "key": f"model:{path}:{identity}:{time}",
        "kind": "model",
        "time": time,
        "path": path,
        "identity": identity,
        "generation": generation,
        "folder": "model",
        "register": register,
    }


def closed_record(time: int, path: str, identity: str) -> Json:
    """Say that the run was stopped within a round."""
    key = f"closed:{path}:{identity}:{time}"
    return {"key": key, "kind": "closed", "time": time, "path": path, "identity": identity}


def moving_names(manifest: Manifest, before: Set[str]) -> set[str]:
    """Return the hyperparameters that differ between the members of a kind, and those that did before."""
    first: dict[str, Hyperparameters] = {}
    found = set(before)
    for record in manifest.members:
        start = first.setdefault(record.kind, record.hyperparameters)
        found |= {name for name, _ in record.hyperparameters.items() ^ start.items()}
    return found


def _population_metrics(manifest: Manifest) -> dict[str, float]:
    scores = [record.score for record in manifest.members if record.score is not None]
    metrics = {
        "population/images": float(manifest.images),
        "population/replaced": float(sum(assignment.operation != "continue" for assignment in manifest.next)),
        "population/failed": float(sum(record.score is None for record in manifest.members)),
    }
    if scores:
        metrics |= {
            "fitness/best": max(scores),
            "fitness/median": statistics.median(scores),
            "fitness/worst": min(scores),
        }
    return metrics


def _member_metrics(
    record: MemberRecord, rank: int | None, threshold: float, moving: Set[str] | None
) -> dict[str, float]:
    """Return a member's numbers. MLflow's pages group them by what stands before the slash and begin with the first."""
    chosen = record.hyperparameters if moving is None else sorted(moving & record.hyperparameters.keys())
    metrics = {f"hp/{name}": record.hyperparameters[name] for name in chosen}
    metrics["lineage/parent"] = float(-1 if record.parent is None else record.parent)
    metrics["lineage/images"] = float(record.images)
    metrics["lineage/exploited"] = float(record.operation == "exploit")
    if record.score is not None and rank is not None:
        metrics |= {"fitness/score": record.score, "lineage/rank": float(rank)}
    metrics |= {f"replicas/score_{index}": score for index, score in enumerate(record.replica_scores)}
    for name in sorted({name for losses in record.losses for name in losses}):
        metrics[f"loss/{name}"] = statistics.fmean(losses[name] for losses in record.losses if name in losses)
    if record.information:
        metrics["latents/learned"] = statistics.fmean(sum(v > threshold for v in row) for row in record.information)
        metrics["latents/information"] = statistics.fmean(sum(row) for row in record.information)
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _starts(record: MemberRecord, moving: Set[str] | None) -> dict[str, str]:
    return {
        f"{'init' if moving is None or name in moving else 'fixed'}/{name}": repr(value)
        for name, value in record.hyperparameters.items()
    }


def _member_tags(record: MemberRecord, rank: int | None, origin: str, size: int) -> dict[str, str]:
    width = len(str(size))
    tags = {
        "status": record.status,
        "objective": record.kind,
        "operation": record.operation,
        "parent": "none" if record.parent is None else member_name(record.parent),
        "origin": origin,
        "rank": "none" if rank is None else f"{rank:0{width}d}",
    }
    return tags | ({"error": record.error[:500]} if record.error else {})
