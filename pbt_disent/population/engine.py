"""One population from its first generation to its last: train, score, decide, commit, again.

The committed manifests are the whole state. Called again on the same folder, after a crash at any point, the engine
goes on behind the last manifest and arrives at the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from pbt_disent.errors import PbtDisentError
from pbt_disent.population.asynchronous import windows
from pbt_disent.population.events import GenerationCommitted, Observer, Phase, RoundFinished, RoundStarted, TaskDone
from pbt_disent.population.executor import Executor
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import Manifest
from pbt_disent.population.plan import first_plan, make_record, make_score_task, make_tasks, next_plan
from pbt_disent.population.rule import StopReason, stop_reason
from pbt_disent.population.spec import RoundSpec
from pbt_disent.training.tasks import TrainOutcome
from pbt_disent.types import Hyperparameters

__all__ = ["Best", "PopulationResult", "run_population"]

_WHOLE_GENERATIONS = 3
"""Whole generations in memory: the journal drops the checkpoints of the one before the last two."""


@dataclass(frozen=True)
class Best:
    """The best replica of the best member of the best generation of a round.

    Args:
        generation: The generation in which the member had its score.
        member: The index of the member.
        replica: The index of the replica among those of the member.
        score: The score of the member.
        checkpoint: The digest of the replica's checkpoint.
        information: The information of each latent in nats, (Z,).
        hyperparameters: The values with which the member trained in that generation.
        replicas: The digests of the checkpoints of all replicas of the member.
    """

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
        path: The path of the round.
        reason: Why it ended.
        best: The best model, or None if no member ever had a score.
        generations: The number of generations that were trained.
        image_passes: The image passes paid, over all models.
    """

    path: str
    reason: StopReason
    best: Best | None
    generations: int
    image_passes: int


def run_population(spec: RoundSpec, executor: Executor, journal: RoundJournal, observer: Observer) -> PopulationResult:
    """Run a round to its end, going on behind the last generation in its journal.

    Args:
        spec: The round.
        executor: The executor that trains and scores.
        journal: The journal of the run.
        observer: The observer of the run.

    Raises:
        Stopped: The executor was asked to stop; the journal can be continued.
        PbtDisentError: Every member failed with an error of the training code.
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
            population.image_passes_per_generation,
            spec.fitness,
            len(history),
        )
    )
    for index, manifest in enumerate(history):
        observer.notify(GenerationCommitted(manifest, replayed=True))
        _outline_old(spec, history, index)
    if population.mode == "synchronous" or spec.schedule:
        generations = _generations(spec, history, executor, observer)
    else:
        generations = windows(spec, history, executor, observer)
    with contextlib.closing(generations):
        while (reason := stop_reason(_best_scores(history), population)) is None:
            manifest, obsolete = next(generations)
            journal.commit(manifest, history, obsolete)
            history.append(manifest)
            _outline_old(spec, history, len(history) - 1)
            observer.notify(Phase(spec.path, manifest.generation, "committed"))
            observer.notify(GenerationCommitted(manifest, replayed=False))
    considered = history[: population.max_generations]
    best = _best(considered[-1:] if spec.schedule else considered)
    result = PopulationResult(spec.path, reason, best, len(considered), considered[-1].image_passes)
    observer.notify(RoundFinished(spec.path, reason))
    return result


def _outline_old(spec: RoundSpec, history: list[Manifest], newest: int) -> None:
    """Keep an outline of the generation that just got too old for the journal, unless the explore rule needs all."""
    if newest >= _WHOLE_GENERATIONS and not spec.population.explore.needs_observations:
        history[newest - _WHOLE_GENERATIONS] = history[newest - _WHOLE_GENERATIONS].outline()


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


def _generations(
    spec: RoundSpec, history: Sequence[Manifest], executor: Executor, observer: Observer
) -> Generator[tuple[Manifest, frozenset[str]]]:
    """Yield one generation after another; each is behind the history, which has grown by the one before."""
    while True:
        yield _advance(spec, history, executor, observer), frozenset()


def _advance(spec: RoundSpec, history: Sequence[Manifest], executor: Executor, observer: Observer) -> Manifest:
    """Train, score and decide one generation; nothing of it is on record before the manifest is committed."""
    generation = len(history)
    plan = history[-1].next if history else first_plan(spec)
    outcomes: dict[int, list[TrainOutcome]] = {assignment.member: [] for assignment in plan}
    tasks = make_tasks(spec, generation, plan)
    for outcome in executor.train(
        tasks, lambda done: observer.notify(TaskDone(spec.path, generation, done.image_passes))
    ):
        outcomes[outcome.key.member].append(outcome)
    observer.notify(Phase(spec.path, generation, "trained"))
    task = make_score_task(spec, generation, outcomes)
    scores = {} if task is None else {score.member: score for score in executor.score(task)}
    observer.notify(Phase(spec.path, generation, "scored"))
    records = tuple(make_record(a, outcomes[a.member], scores.get(a.member)) for a in plan)
    if all(record.status == "failed" for record in records):
        raise PbtDisentError(f"every member of round {spec.path} failed; the first one: {records[0].error}")
    following = next_plan(spec, history, records)
    observer.notify(Phase(spec.path, generation, "decided"))
    paid = (history[-1].image_passes if history else 0) + sum(record.image_passes for record in records)
    return Manifest(
        round=spec.path,
        identity=spec.identity,
        data=spec.data,
        generation=generation,
        members=records,
        next=following,
        image_passes=paid,
    )
