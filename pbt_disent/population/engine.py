"""One population from its first generation to its last: train, score, decide, commit, again.

The committed manifests are the whole state. Called again on the same folder, after a crash at any point, the engine
goes on behind the last manifest and arrives at the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from pbt_disent.config import Mutable, PopulationConfig
from pbt_disent.errors import PbtDisentError
from pbt_disent.population.convergence import verdict
from pbt_disent.population.events import GenerationCommitted, Observer, Phase, RoundFinished, RoundStarted, TaskDone
from pbt_disent.population.executor import Executor, ScoreTask
from pbt_disent.population.fitness import MemberScore, ScoredMember
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import Assignment, DataIdentity, Manifest, MemberRecord
from pbt_disent.population.rule import decide, draw_population, survivors
from pbt_disent.seeds import Streams
from pbt_disent.training.tasks import Status, TaskKey, Teaching, TrainOutcome, TrainTask
from pbt_disent.types import Hyperparameters, Json

__all__ = ["Best", "Kind", "PopulationResult", "RoundSpec", "run_population"]


@dataclass(frozen=True)
class Kind:
    """One objective of a population, whose members share it until a copy of another kind takes their place.

    Args:
        name: of the objective, with a number behind it where several kinds share one.
        space: the searched hyperparameters.
        fixed: the other hyperparameters.
    """

    name: str
    space: dict[str, Mutable]
    fixed: Hyperparameters


@dataclass(frozen=True)
class RoundSpec:
    """Everything that a round depends on.

    Args:
        path: of the round, such as ``0`` or ``0/leaf1/1``.
        seed: the run's seed.
        population: sizes, rule and stop conditions.
        kinds: the objectives; members start with one after the other in turn.
        fitness: name in the fitness registry, and its `options`.
        subset: digest of the indices that it trains on, or none for all images.
        set_size: how many images that is.
        probe: digest of the indices that are encoded for scoring.
        context: whatever else the training depends on (data, objective, settings), for the identity.
        data: the same images by name, for the record.
        stacked: whether a task is all replicas of a member, which train as one model, or one replica; that is no part
            of the identity.
        teaching: what is trained instead of the run's objectives; `kinds` are then its own.
    """

    path: str
    seed: int
    population: PopulationConfig
    kinds: tuple[Kind, ...]
    fitness: str
    options: Json
    subset: str | None
    set_size: int
    probe: str
    context: Json = field(default_factory=dict)
    data: DataIdentity | None = None
    stacked: bool = False
    teaching: Teaching | None = None

    @property
    def identity(self) -> str:
        """Digest of all inputs but the stop conditions: rounds of one identity share their generations."""
        rule = self.population.model_dump(
            mode="json", include={"size", "oversize", "replicas", "images_per_generation", "cutoff", "factors"}
        )
        inputs = {
            "path": self.path,
            "seed": self.seed,
            "population": rule,
            "kinds": [
                {
                    "name": kind.name,
                    "space": {name: mutable.model_dump(mode="json") for name, mutable in kind.space.items()},
                    "fixed": kind.fixed,
                }
                for kind in self.kinds
            ],
            "fitness": [self.fitness, self.options],
            "data": [self.subset, self.set_size, self.probe],
            "context": self.context,
            "teaching": None if self.teaching is None else asdict(self.teaching),
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


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
    for manifest in history:
        observer.notify(GenerationCommitted(manifest, replayed=True))
    while (reason := verdict(_best_scores(history), population)) is None:
        manifest = _advance(spec, history, executor, observer)
        journal.commit(manifest, history)
        history.append(manifest)
        observer.notify(Phase(spec.path, manifest.generation, "committed"))
        observer.notify(GenerationCommitted(manifest, replayed=False))
    considered = history[: population.max_generations]
    result = PopulationResult(spec.path, reason, _best(considered), len(considered), considered[-1].images)
    observer.notify(RoundFinished(spec.path, reason))
    return result


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
    plan = history[-1].next if history else _first_plan(spec)
    outcomes = _train(spec, generation, plan, executor, observer)
    observer.notify(Phase(spec.path, generation, "trained"))
    scores = _score(spec, generation, plan, outcomes, executor)
    observer.notify(Phase(spec.path, generation, "scored"))
    records = tuple(_record(assignment, outcomes[assignment.member], scores) for assignment in plan)
    if all(record.status == "failed" for record in records):
        raise PbtDisentError(f"every member of round {spec.path} failed; the first one: {records[0].error}")
    following = _next_plan(spec, generation, records)
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


def _first_plan(spec: RoundSpec) -> tuple[Assignment, ...]:
    none = (None,) * spec.population.replicas
    plan: dict[int, Assignment] = {}
    for index, kind in enumerate(spec.kinds):
        members = range(index, spec.population.first_size, len(spec.kinds))
        generator = Streams(spec.seed).generator(spec.path, "draw", *([index] if index else []))
        for member, values in zip(members, draw_population(kind.space, len(members), generator), strict=True):
            plan[member] = Assignment(
                member=member,
                operation="start",
                parent=None,
                origins=none,
                hyperparameters={**kind.fixed, **values},
                kind=kind.name,
            )
    return tuple(plan[member] for member in sorted(plan))


def _next_plan(spec: RoundSpec, generation: int, trained: Sequence[MemberRecord]) -> tuple[Assignment, ...]:
    """Decide what the members train next; a first generation that is larger than the others is only thinned out."""
    thinned = len(trained) > spec.population.size
    kept = survivors([record.score for record in trained], spec.population.size)
    records = [trained[index] for index in kept]
    spaces = {kind.name: kind.space for kind in spec.kinds}
    decisions = decide(
        [record.hyperparameters for record in records],
        [record.score for record in records],
        spaces=[spaces[record.kind] for record in records],
        cutoff=0.0 if thinned else spec.population.cutoff,
        factors=spec.population.factors,
        streams=Streams(spec.seed),
        round_path=spec.path,
        generation=generation,
    )
    none = (None,) * spec.population.replicas
    return tuple(
        Assignment(
            member=decision.member,
            operation=decision.operation,
            parent=None if decision.parent is None else kept[decision.parent],
            origins=none if decision.parent is None else records[decision.parent].checkpoints,
            hyperparameters=decision.hyperparameters,
            kind=records[decision.member if decision.parent is None else decision.parent].kind,
        )
        for decision in decisions
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
