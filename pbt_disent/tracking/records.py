"""What the spool holds of a run: events as plain records of everything that MLflow gets, names included.

A record can be sent on its own, at any time, by a process that knows nothing else of the run. Metrics are per
generation; tags hold the latest state; params hold what never changes while a round lasts.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence, Set

from pbt_disent.metrics import interval_ends
from pbt_disent.population.events import RoundStarted
from pbt_disent.population.fitness import Fitness
from pbt_disent.population.manifest import Manifest, MemberRecord, member_interval, member_name
from pbt_disent.types import Hyperparameters, Json

__all__ = [
    "files_record",
    "finished_record",
    "generation_record",
    "model_record",
    "run_record",
    "stopped_record",
    "trace_origins",
    "varying_hyperparameters",
]


def run_record(
    time: int, uid: str, *, name: str, experiment: str, store: str, tags: Mapping[str, str], data: Json | None
) -> Json:
    """Name the run; the first record of every spool.

    Args:
        time: The time in milliseconds since 1970.
        uid: An identifier that no other run has.
        name: The name of the run, for people.
        experiment: MLflow's name for the runs of one data set.
        store: The label of the store that the run is recorded in.
        tags: The tags that every round gets.
        data: The ``name``, ``fingerprint``, ``shape`` and ``images`` of the data set.
    """
    content = {"uid": uid, "name": name, "experiment": experiment, "store": store, "tags": dict(tags), "data": data}
    return {"key": "run", "kind": "run", "time": time, **content}


def trace_origins(previous: Mapping[int, str], manifest: Manifest) -> dict[int, str]:
    """Return for each member the name of the fresh start that its weights descend from.

    Args:
        previous: The same for the generation before; empty for generation 0.
        manifest: The generation.

    Returns:
        By member: ``m03`` for a start in generation 0, ``m03@2`` for a restart in generation 2.
    """
    return {
        record.member: member_name(record.member) + (f"@{manifest.generation}" if manifest.generation else "")
        if record.parent is None
        else previous.get(record.parent, member_name(record.parent))
        for record in manifest.members
    }


def generation_record(
    time: int,
    manifest: Manifest,
    started: RoundStarted | None,
    origins: Mapping[int, str],
    threshold: float,
    *,
    system_metrics: Mapping[str, float] | None = None,
    varying: Set[str] | None = None,
) -> Json:
    """Describe a committed generation.

    Args:
        time: The timestamp of every metric, in milliseconds since 1970.
        manifest: The generation.
        started: The event that began its round, or None if it is not known.
        origins: The origin of each member, see `trace_origins`.
        threshold: The information, in nats, above which a latent counts as learned.
        system_metrics: How busy the machine was, by MLflow's names.
        varying: The hyperparameters that differ between members or change with time. They are metrics, and the others
            params. None makes all of them metrics.
    """
    ranks = {member.member: rank for rank, member in enumerate(manifest.ranked, 1) if member.score is not None}
    fitness = Fitness() if started is None else started.fitness
    system = {name: value for name, value in (system_metrics or {}).items() if math.isfinite(value)}
    return {
        "key": f"generation:{manifest.round}:{manifest.identity}:{manifest.generation}",
        "kind": "generation",
        "time": time,
        "path": manifest.round,
        "identity": manifest.identity,
        "generation": manifest.generation,
        "data": None if manifest.data is None else manifest.data.model_dump(),
        "params": {} if started is None else _round_params(started),
        "fitness": fitness.name or "score",
        "metrics": _population_metrics(manifest) | system,
        "best": manifest.best.member if manifest.best else None,
        "interval": interval_ends(member_interval(manifest, manifest.best, fitness)),
        "members": [
            {
                "member": member.member,
                "metrics": _member_metrics(member, ranks.get(member.member), threshold, varying),
                "params": _member_params(member, varying) if manifest.generation == 0 else {},
                "tags": _member_tags(member, ranks.get(member.member), origins[member.member], len(manifest.members)),
            }
            for member in manifest.members
        ],
    }


def finished_record(time: int, manifest: Manifest, reason: str, fitness: str) -> Json:
    """Describe the end of a round.

    Args:
        time: The time in milliseconds since 1970.
        manifest: The last generation of the round.
        reason: Why the round ended.
        fitness: The name of the fitness that the round ranks by.
    """
    return {
        "key": f"finished:{manifest.round}:{manifest.identity}:{manifest.generation}:{reason}",
        "kind": "finished",
        "time": time,
        "path": manifest.round,
        "identity": manifest.identity,
        "generation": manifest.generation,
        "reason": reason,
        "fitness": fitness,
    }


def files_record(time: int, path: str, identity: str, files: Sequence[tuple[str, str]]) -> Json:
    """Name files of the run folder that belong to a round.

    Args:
        time: The time in milliseconds since 1970.
        path: The path of the round.
        identity: The identity of the round.
        files: The names of the files or folders, each with the artifact folder it goes to.
    """
    return {
        "key": f"files:{path}:{identity}:{time}",
        "kind": "files",
        "time": time,
        "path": path,
        "identity": identity,
        "files": [list(pair) for pair in files],
    }


def model_record(time: int, path: str, identity: str, generation: int, registered_name: str | None = None) -> Json:
    """Say that the run's model, as it lies in the run folder, is the best of a round.

    Args:
        time: The time in milliseconds since 1970.
        path: The path of the round.
        identity: The identity of the round.
        generation: The last generation of the round.
        registered_name: The name of the model in the registry, or None if it is not to be there.
    """
    return {
        "key": f"model:{path}:{identity}:{time}",
        "kind": "model",
        "time": time,
        "path": path,
        "identity": identity,
        "generation": generation,
        "folder": "model",
        "registered_name": registered_name,
    }


def stopped_record(time: int, path: str, identity: str) -> Json:
    """Say that the run was stopped within a round.

    Args:
        time: The time in milliseconds since 1970.
        path: The path of the round.
        identity: The identity of the round.
    """
    key = f"stopped:{path}:{identity}:{time}"
    return {"key": key, "kind": "stopped", "time": time, "path": path, "identity": identity}


def varying_hyperparameters(manifest: Manifest, previous: Set[str]) -> set[str]:
    """Return the hyperparameters that differ between members of one objective, and those that did before.

    Args:
        manifest: The generation.
        previous: The same for the generation before; empty for generation 0.
    """
    first: dict[str, Hyperparameters] = {}
    varying = set(previous)
    for member in manifest.members:
        reference = first.setdefault(member.objective, member.hyperparameters)
        varying |= {name for name, _ in member.hyperparameters.items() ^ reference.items()}
    return varying


def _round_params(started: RoundStarted) -> Json:
    return {
        "members": started.members,
        "replicas": started.replicas,
        "num_images": started.num_images,
        "image_passes_per_generation": started.image_passes_per_generation,
    }


def _population_metrics(manifest: Manifest) -> dict[str, float]:
    scores = [member.score for member in manifest.members if member.score is not None]
    metrics = {
        "population/image_passes": float(manifest.image_passes),
        "population/replaced": float(sum(assignment.operation != "continue" for assignment in manifest.next)),
        "population/failed": float(sum(member.score is None for member in manifest.members)),
    }
    if scores:
        metrics |= {
            "fitness/best": max(scores),
            "fitness/median": statistics.median(scores),
            "fitness/worst": min(scores),
        }
    return metrics


def _member_metrics(
    member: MemberRecord, rank: int | None, threshold: float, varying: Set[str] | None
) -> dict[str, float]:
    """Return a member's metrics. MLflow's pages group them by what stands before the slash and begin with the first."""
    names = member.hyperparameters if varying is None else sorted(varying & member.hyperparameters.keys())
    metrics = {f"hp/{name}": member.hyperparameters[name] for name in names}
    metrics["lineage/parent"] = float(-1 if member.parent is None else member.parent)
    metrics["lineage/image_passes"] = float(member.image_passes)
    metrics["lineage/exploited"] = float(member.operation == "exploit")
    if member.score is not None and rank is not None:
        metrics |= {"fitness/score": member.score, "lineage/rank": float(rank)}
    metrics |= {f"replicas/score_{index}": score for index, score in enumerate(member.replica_scores)}
    for name in sorted({name for losses in member.losses for name in losses}):
        metrics[f"loss/{name}"] = statistics.fmean(losses[name] for losses in member.losses if name in losses)
    if member.information:
        metrics["latents/learned"] = statistics.fmean(
            sum(nats > threshold for nats in replica) for replica in member.information
        )
        metrics["latents/information"] = statistics.fmean(sum(replica) for replica in member.information)
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _member_params(member: MemberRecord, varying: Set[str] | None) -> dict[str, str]:
    return {
        f"{'init' if varying is None or name in varying else 'fixed'}/{name}": repr(value)
        for name, value in member.hyperparameters.items()
    }


def _member_tags(member: MemberRecord, rank: int | None, origin: str, population_size: int) -> dict[str, str]:
    width = len(str(population_size))
    tags = {
        "status": member.status,
        "objective": member.objective,
        "operation": member.operation,
        "parent": "none" if member.parent is None else member_name(member.parent),
        "origin": origin,
        "rank": "none" if rank is None else f"{rank:0{width}d}",
    }
    return tags | ({"error": member.error[:500]} if member.error else {})
