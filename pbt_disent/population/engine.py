"""One population from its first generation to its last: train, score, decide, commit, again.

The committed manifests are the whole state. Called again on the same folder, after a crash at any point, the engine
goes on behind the last manifest and arrives at the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pbt_disent.errors import PbtDisentError
from pbt_disent.population.convergence import verdict
from pbt_disent.population.events import GenerationCommitted, Observer, Phase, RoundFinished, RoundStarted, TaskDone
from pbt_disent.population.executor import Executor, ScoreTask
from pbt_disent.population.fitness import MemberScore, ScoredMember
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import Assignment, Manifest, MemberRecord
from pbt_disent.population.plan import first_plan, next_plan
from pbt_disent.population.spec import Kind, RoundSpec
from pbt_disent.training.tasks import Status, TaskKey, TrainOutcome, TrainTask
from pbt_disent.types import Hyperparameters

__all__ = ["Best", "Kind", "PopulationResult", "RoundSpec", "run_population"]

_REMEMBERED = 3
"""Whole generations in memory: the journal drops the checkpoints of the one before the last two."""


@dataclass(frozen=True)
class Best:
    """The best replica of the best member of the best generation; `replicas` are the checkpoints of all of them."""

    generation: int
    member: int
    replica: int
    score: float
    checkpoint: str
    information: tuple[float, ...]
    hyperparameters: Hyperparameters
    replicas: tuple[str, ...]


@dataclass(frozen=True)
class PopulationResult:
    """How a population ended.

    Args:
        path: of the round.
        reason: a verdict of `pbt_disent.population.convergence`.
        best: none if no member ever had a score.
        generations: how many were trained.
        images: image passes paid, over all models.
    """

    path: str
    reason: str
    best: Best | None
    generations: int
    images: int


def run_population(spec: RoundSpec, executor: Executor, journal: RoundJournal, observer: Observer) -> PopulationResult:
    """Run a round to its end, from wherever its journal stands.

    Raises:
        Stopped: the executor was asked to stop; the journal can be continued.
        PbtDisentError: every member failed with an error of the training code.
    """
    history = journal.enter(spec)
    population = spec.population
    observer.notify(
        RoundStarted(
            spec.path,
            population.size,
            population.replicas,
            population.max_generations,
            spec.set_size,
            population.images_per_generation,
            spec.fitness,
            len(history),
        )
    )
    for place, manifest in enumerate(history):
        observer.notify(GenerationCommitted(manifest, replayed=True))
        _forget(spec, history, place)
    while (reason := verdict(_best_scores(history), population)) is None:
        manifest = _advance(spec, history, executor, observer)
        journal.commit(manifest, history)
        history.append(manifest)
        _forget(spec, history, len(history) - 1)
        observer.notify(Phase(spec.path, manifest.generation, "committed"))
        observer.notify(GenerationCommitted(manifest, replayed=False))
    considered = history[: population.max_generations]
    result = PopulationResult(spec.path, reason, _best(considered), len(considered), considered[-1].images)
    observer.notify(RoundFinished(spec.path, reason))
    return result


def _forget(spec: RoundSpec, history: list[Manifest], newest: int) -> None:
    """Keep no more than an outline of the generation that has just got too old for the journal; PB2 needs them all."""
    if newest >= _REMEMBERED and spec.population.explore != "pb2":
        history[newest - _REMEMBERED] = history[newest - _REMEMBERED].outline()


def _best_scores(history: Sequence[Manifest]) -> list[float | None]:
    return [manifest.best.score if manifest.best else None for manifest in history]


def _best(history: Sequence[Manifest]) -> Best | None:
    scored = [(manifest, manifest.best) for manifest in history if manifest.best is not None]
    if not scored:
        return None
    manifest, record = max(scored, key=lambda pair: (pair[1].score or 0.0, -pair[0].generation))
    replica = max(range(len(record.replica_scores)), key=lambda index: (record.replica_scores[index], -index))
    return Best(
        manifest.generation,
        record.member,
        replica,
        float(record.score or 0.0),
        record.checkpoints[replica],
        record.information[replica],
        record.hyperparameters,
        record.checkpoints,
    )


def _advance(spec: RoundSpec, history: Sequence[Manifest], executor: Executor, observer: Observer) -> Manifest:
    """Train, score and decide one generation; nothing of it is on record before the manifest is committed."""
    generation = len(history)
    plan = history[-1].next if history else first_plan(spec)
    outcomes = _train(spec, generation, plan, executor, observer)
    observer.notify(Phase(spec.path, generation, "trained"))
    scores = _score(spec, generation, plan, outcomes, executor)
    observer.notify(Phase(spec.path, generation, "scored"))
    records = tuple(_record(assignment, outcomes[assignment.member], scores) for assignment in plan)
    if all(record.status == "failed" for record in records):
        raise PbtDisentError(f"every member of round {spec.path} failed; the first one: {records[0].error}")
    following = next_plan(spec, history, records)
    observer.notify(Phase(spec.path, generation, "decided"))
    paid = (history[-1].images if history else 0) + sum(record.images for record in records)
    return Manifest(
        round=spec.path,
        identity=spec.identity,
        data=spec.data,
        generation=generation,
        members=records,
        next=following,
        images=paid,
    )


def _train(
    spec: RoundSpec, generation: int, plan: Sequence[Assignment], executor: Executor, observer: Observer
) -> dict[int, list[TrainOutcome]]:
    """Train every replica, as a task of its own or all of a member in one; return the outcomes by member, in order."""
    every = tuple(range(spec.population.replicas))
    groups = [every] if spec.stacked else [(replica,) for replica in every]
    names = [kind.name for kind in spec.kinds]
    tasks = [
        TrainTask(
            key=TaskKey(spec.path, generation, assignment.member, replicas),
            seed=spec.seed,
            origins=tuple(assignment.origins[replica] for replica in replicas),
            hyperparameters=assignment.hyperparameters,
            images=spec.population.images_per_generation,
            subset=spec.subset,
            probe=spec.probe,
            kind=names.index(assignment.kind),
            teaching=spec.teaching,
        )
        for assignment in plan
        for replicas in groups
    ]
    outcomes: dict[int, list[TrainOutcome]] = {assignment.member: [] for assignment in plan}
    done = executor.train(tasks, lambda outcome: observer.notify(TaskDone(spec.path, generation, outcome.images)))
    for outcome in done:
        outcomes[outcome.key.member].append(outcome)
    return outcomes


def _score(
    spec: RoundSpec,
    generation: int,
    plan: Sequence[Assignment],
    outcomes: dict[int, list[TrainOutcome]],
    executor: Executor,
) -> dict[int, MemberScore]:
    """Score the members that trained without error, together."""
    members = tuple(
        ScoredMember(
            assignment.member,
            tuple(outcome.codes for outcome in replicas if outcome.codes is not None),
            tuple(row for outcome in replicas for row in outcome.information),
        )
        for assignment in plan
        if _status(replicas := outcomes[assignment.member]) == "ok"
    )
    if not members:
        return {}
    task = ScoreTask(spec.path, generation, spec.fitness, members, spec.options)
    return {score.member: score for score in executor.score(task)}


def _status(replicas: Sequence[TrainOutcome]) -> Status:
    """A member is as good as its worst replica."""
    statuses = {outcome.status for outcome in replicas}
    return "failed" if "failed" in statuses else "nan" if "nan" in statuses else "ok"


def _record(assignment: Assignment, replicas: Sequence[TrainOutcome], scores: dict[int, MemberScore]) -> MemberRecord:
    score = scores.get(assignment.member)
    usable = score is not None and math.isfinite(score.score)
    return MemberRecord(
        member=assignment.member,
        operation=assignment.operation,
        parent=assignment.parent,
        hyperparameters=assignment.hyperparameters,
        status=_status(replicas),
        score=score.score if score and usable else None,
        replica_scores=score.replica_scores if score and usable else (),
        checkpoints=tuple(digest for outcome in replicas for digest in outcome.checkpoints) if usable else (),
        codes=tuple(outcome.codes for outcome in replicas if outcome.codes is not None) if usable else (),
        information=tuple(row for outcome in replicas for row in outcome.information) if usable else (),
        losses=tuple(loss for outcome in replicas for loss in outcome.losses) if usable else (),
        images=sum(outcome.images for outcome in replicas),
        error=next((outcome.error for outcome in replicas if outcome.error), None),
        kind=assignment.kind,
    )
